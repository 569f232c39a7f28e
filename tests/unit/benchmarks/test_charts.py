"""The charts of the docs: they are those of the recorded results."""

from benchmarks.charts import CHART, PODS, RESULTS, draw, pods, rows


def test_the_chart_is_that_of_the_results() -> None:
    text = RESULTS.read_text()
    assert CHART.read_text() == draw(text), "draw it again: python -m benchmarks.charts"
    other = text.replace("| 1000 | played | 10000 |", "| 1000 | played | 9000 |")
    assert draw(other) != draw(text)


def test_the_pods_are_those_that_would_be_played_today() -> None:
    assert PODS.read_text() == pods(), "draw it again: python -m benchmarks.charts"


def test_rows_of_the_table_below_a_heading() -> None:
    text = "# All\n\n## First\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\n| c |\n| --- |\n| 5 |\n"
    assert rows(text, "## First") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
