"""The charts of the docs, drawn from the tables of recorded results, or played:

.venv/bin/python -m benchmarks.charts
"""

from __future__ import annotations

from pathlib import Path

from fleet.capacity.drawing import Line, Panel, svg
from fleet.kubernetes import simulated
from fleet.kubernetes.autoscaler import Autoscaler, scaling_of
from fleet.kubernetes.scaling import BEHAVIOR
from fleet.kubernetes.simulation import play, traces
from fleet.spec.pod import Scale

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "scale-2026-12-01.md"
CHART = ROOT / "docs" / "images" / "scale.svg"
PODS = ROOT / "docs" / "images" / "pods.svg"
TARGET = Scale(min=1, max=12).target
MAXCLIENTS = 10_000
"""Connections that Redis takes by default."""
Row = dict[str, str]


def rows(text: str, heading: str) -> list[Row]:
    """The rows of the first table below a heading, by the names of its columns."""
    lines = text.partition(f"\n{heading}\n")[2].strip().splitlines()
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("|")]
    first, _, *others = table[: next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [dict(zip(first, row, strict=True)) for row in others]


def draw(text: str) -> str:
    """What idle workers cost one Redis, by their number."""
    idle = rows(text, "## Idle")
    most = max(float(row["workers"]) for row in idle)

    def panel(title: str, column: str, y_ticks: list[tuple[float, str]], top: float, limit: tuple[float, str] | None) -> Panel:
        lines = []
        for kind in ("processes", "played"):
            points = [(float(row["workers"]) / most, float(row[column]) / top) for row in idle if row[""] == kind]
            lines.append(Line(kind, points, kind == "processes"))
        ticks = [(step / 5, f"{most * step / 5:,.0f}") for step in range(6)]
        return Panel(title, "idle workers", ticks, y_ticks, lines, limit)

    return svg(
        "What idle workers cost one Redis",
        [
            panel(
                "Connections",
                "connections",
                [(step / 4, f"{3000 * step:,}") for step in range(5)],
                12_000,
                (MAXCLIENTS / 12_000, "maxclients"),
            ),
            panel("CPU of Redis", "CPU, % of a core", [(step / 5, f"{step}%") for step in range(6)], 5.0, None),
        ],
    )


def pods() -> str:
    """Pods of a role of 10 slots under a burst of tasks of 5 s, by what `fleet k8s` writes for {"min": 1, "max": 12}."""
    slots, least, most = 10, 1, 12
    trace = traces(slots, most, service=5.0)["burst"]
    target = {"type": "AverageValue", "averageValue": f"{TARGET * slots:g}"}
    spec = {
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [{"external": {"target": target}}],
        "behavior": BEHAVIOR,
    }
    played = play(trace, Autoscaler(scaling_of({"spec": spec})), slots, least)
    return simulated.chart("web", trace, played, slots, most)


def main() -> None:
    CHART.write_text(draw(RESULTS.read_text()))
    PODS.write_text(pods())


if __name__ == "__main__":
    main()
