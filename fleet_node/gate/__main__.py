"""`python -m fleet_node.gate`: whether workers that came up do their work. `fleet_node.step` starts it beside a step.

It does not import the app: that takes seconds and memory, and an app may do anything. What it has to know of the app's settings
a worker leaves in its ControlFile. It reads a GateOpening on stdin and answers with a GateConsumed; then it answers each
GateQuestion with a GateVerdict, a line of JSON each (`fleet_node.protocol`). It ends with stdin.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing

from fleet_node.gate.inspector import connect
from fleet_node.gate.judge import judge
from fleet_node.protocol import GateConsumed, GateOpening, GateQuestion, GateVerdict, WorkerState


def main() -> int:
    """Answer until stdin ends."""
    opening: GateOpening = json.loads(sys.stdin.readline())
    os.environ.update(opening["environment"])

    def answer(message: GateConsumed | GateVerdict) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    sys.stdout, answers = sys.stderr, sys.stdout  # an app may print, and its lines are no answers
    with closing(connect(opening["control"], opening["app"])) as workers:
        consumed = workers.consumed(opening["expected"], opening["look"])
        predecessors = workers.states([node for node in consumed if node in opening["stopping"]], opening["look"])
        answer({"consumed": consumed})
    for line in sys.stdin:
        answer(_judged(json.loads(line), opening, predecessors))
    return 0


def _judged(question: GateQuestion, opening: GateOpening, predecessors: Mapping[str, WorkerState]) -> GateVerdict:
    """The answer, tried twice: a broker that restarts is no fault of the workers."""
    from amqp.exceptions import AMQPError
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    for attempt in (1, 2):
        try:
            with closing(connect(question["control"], opening["app"])) as workers:
                return judge(workers, question, opening, predecessors)
        except (OperationalError, AMQPError, RedisError, OSError):
            if attempt == 2:
                raise
            time.sleep(2)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
