"""From answers to a verdict: pure functions over the jobs and their answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shop.exercise.plan import Job

SHOWN = 10  # wrong answers spelled out; the rest are counted


@dataclass(frozen=True)
class Outcome:
    """How one job went. `worker` is None if no answer came, `wrong` is None if the answer is right."""

    id: str
    job: Job
    queue: str
    worker: str | None = None
    seconds: float | None = None
    wrong: str | None = None


def judge(task_id: str, job: Job, queue: str, meta: Mapping[str, Any] | None) -> Outcome:
    """Compare an answer, as Celery's extended result metadata (None: no answer), with what was expected."""
    if meta is None:
        return Outcome(task_id, job, queue)
    worker, result = meta.get("worker") or "(unknown worker)", meta.get("result")
    if meta["status"] != "SUCCESS":
        return Outcome(task_id, job, queue, worker, wrong=f"{meta['status']}: {result!r}")
    if not isinstance(result, dict):
        return Outcome(task_id, job, queue, worker, wrong=f"answered {result!r}")
    differing = [name for name, value in job.expected.items() if result.get(name) != value]
    wrong = ", ".join(f"{name} is {result.get(name)!r}, not {job.expected[name]!r}" for name in differing)
    return Outcome(task_id, job, queue, worker, result.get("seconds"), wrong or None)


def as_json(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Counts. `workers` and `queues` count answers, right or wrong."""
    workers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        if outcome.worker:
            workers[outcome.worker][outcome.job.task] += 1
    finished = sum(counts.total() for counts in workers.values())
    return {
        "sent": len(outcomes),
        "finished": finished,
        "wrong": sum(outcome.wrong is not None for outcome in outcomes),
        "lost": len(outcomes) - finished,
        "seconds": round(seconds, 2),
        "workers": {worker: dict(sorted(counts.items())) for worker, counts in sorted(workers.items())},
        "queues": dict(sorted(Counter(outcome.queue for outcome in outcomes if outcome.worker).items())),
    }


def table(outcomes: Iterable[Outcome]) -> str:
    """A line for each worker and task: how many answers, how many of them wrong, the mean seconds."""
    groups: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.worker:
            groups[outcome.worker, outcome.job.task].append(outcome)
    rows = [("WORKER", "TASK", "DONE", "FAILED", "MEAN s")]
    for (worker, task), group in sorted(groups.items()):
        times = [outcome.seconds for outcome in group if outcome.seconds is not None]
        mean = f"{sum(times) / len(times):.3f}" if times else "-"
        failed = sum(outcome.wrong is not None for outcome in group)
        rows.append((worker, task, str(len(group)), str(failed), mean))
    wide = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]:>{wide[3]}}  {row[4]:>{wide[4]}}" for row in rows
    )


def complaints(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each queue with missing answers, and for each wrong answer. Empty if all is well."""
    sent = Counter(outcome.queue for outcome in outcomes)
    lost: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.worker is None:
            lost[outcome.queue].append(outcome)
    lines = []
    for queue, missing in sorted(lost.items()):
        tasks = ", ".join(f"{number} {task}" for task, number in sorted(Counter(each.job.task for each in missing).items()))
        hint = "does a worker consume it?" if len(missing) == sent[queue] else f"the first is {missing[0].id}"
        lines.append(f"no answer from queue {queue} for {len(missing)} of {sent[queue]} tasks ({tasks}): {hint}")
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    for outcome in wrong[:SHOWN]:
        arguments = ", ".join(repr(argument) for argument in outcome.job.args)
        lines.append(f"wrong: {outcome.job.task}({arguments}) on {outcome.worker}: {outcome.wrong}")
    if len(wrong) > SHOWN:
        lines.append(f"wrong: {len(wrong) - SHOWN} more")
    return lines
