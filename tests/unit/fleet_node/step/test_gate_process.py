"""The process of a gate is waited for, line by line, and not for ever."""

import sys
from pathlib import Path

import pytest

from fleet_node.protocol import GateQuestion, GateRequest
from fleet_node.step.errors import GateError
from fleet_node.step.gate_process import GateProcess

QUESTION: GateQuestion = {"nodes": {}, "role": "web", "canary": False, "stopping": [], "control": ""}
OPENING = "import json, os, sys, time\nopening = json.loads(sys.stdin.readline())\n"


def gate(folder: Path, code: str) -> GateProcess:
    request: GateRequest = {
        "command": [sys.executable, "-c", OPENING + code],
        "user": "",
        "folder": str(folder),
        "base": {},
        "environment": {},
        "ask": {"expected": 1, "app": "jobs", "look": 1, "settle": 1, "patience": 1, "first_task": 1},
    }
    return GateProcess(request, None, ["web-worker-1@test"])


def test_answers_come_in_pieces_or_several_at_once(tmp_path: Path) -> None:
    pieces = (
        "line = json.dumps({'consumed': {opening['stopping'][0]: ['x' * 200000]}}) + chr(10)\n"
        "line += json.dumps({'problems': {}, 'notes': ['well']}) + chr(10)\n"
        "sys.stdout.write(line[:9]); sys.stdout.flush(); time.sleep(0.2)\n"
        "sys.stdout.write(line[9:]); sys.stdout.flush(); sys.stdin.read()\n"
    )
    process = gate(tmp_path, pieces)
    assert process.consumed(20) == {"web-worker-1@test": ["x" * 200000]}
    assert process.judge(QUESTION, 20) == {"problems": {}, "notes": ["well"]}
    process.close()


@pytest.mark.parametrize(
    ("code", "patience", "why"),
    [
        ("time.sleep(60)", 0.3, r"could not ask the workers: no answer in 0\.3 s"),
        ("sys.stdout.write('half a line'); sys.stdout.flush(); time.sleep(60)", 0.3, r"no answer in 0\.3 s"),
        ("sys.exit('no broker')", 20, "could not ask the workers: no broker"),
    ],
)
def test_a_gate_that_does_not_answer_says_why(tmp_path: Path, code: str, patience: float, why: str) -> None:
    process = gate(tmp_path, code)
    with pytest.raises(GateError, match=why):
        process.consumed(patience)
    with pytest.raises(GateError):
        process.judge(QUESTION, patience)  # it has ended, and is not written to any more
    process.close()
