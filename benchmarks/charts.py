"""The charts of docs/scaling.md, drawn from the tables of recorded results:

.venv/bin/python -m benchmarks.charts
"""

from __future__ import annotations

from pathlib import Path

from fleet.capacity.drawing import Line, Panel, svg

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "scale-2026-12-01.md"
CHART = ROOT / "docs" / "images" / "scale.svg"
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


def main() -> None:
    CHART.write_text(draw(RESULTS.read_text()))


if __name__ == "__main__":
    main()
