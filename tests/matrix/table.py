"""The table of a run of the matrix: sets of versions and pools by promises. Pure."""

from collections.abc import Iterable, Mapping

from tests.matrix.sets import CELLS

OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"


def table(promises: Iterable[str], outcomes: Mapping[tuple[str, str], str]) -> list[str]:
    """Lines of text. outcomes: OK or FAILED by (name of the cell, promise)."""
    promises = list(promises)
    rows = [["versions", "pool", *promises]]
    for cell in CELLS:
        rows.append([cell.versions, cell.pool, *(outcomes.get((cell.name, promise), NOT_RUN) for promise in promises)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
