"""What a release is made of: the files of the app's folder. Their sizes are looked at, and none is read."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan.plan import Plan
from fleet.spec.source import LARGE, of_fleet, size, summary


@rule("release-size", "warning")
def release_size(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Every machine is sent the whole release, and keeps some: above 100 MB, a deploy takes minutes and memory on both sides."""
    for files in of_fleet(plan.fleet).values():
        if size(files) > LARGE:
            yield Violation("app_source", f"a release has {summary(files)}")
