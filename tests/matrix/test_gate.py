"""A gate says of a worker that came up whether it does its work."""

from contextlib import closing

from fleet_node.step.gate_process import GateProcess
from tests.matrix.support import JOBS, output, until
from tests.unit.process_support import Machine

NODE = "web-worker-1@test"


def test_a_worker_that_is_well_passes_and_a_queue_that_nobody_serves_does_not(here: Machine) -> None:
    release = here.release("r", JOBS)
    here.start(release)
    request = here.request(release, [1])["gates"]["web"]
    request["ask"] |= {"expected": 1}
    control = str(here.runtime("celery-web@1.service") / "control.json")
    with closing(GateProcess(request, control, [])) as gate:
        assert gate.consumed(30) == {NODE: ["default"]}
        verdict = gate.judge(
            {"nodes": {NODE: ["default"]}, "role": "web", "canary": False, "stopping": [], "control": control}, 60
        )
        assert verdict == {"problems": {}, "notes": []}, output(here)


def test_a_worker_counts_its_tasks_that_failed(here: Machine) -> None:
    """A canary is judged by them."""
    here.start(here.release("r", JOBS))
    with here.client() as client:
        for number in range(3):
            client.send_task("jobs.fail", [number], queue="default")
            client.send_task("jobs.work", [number], queue="default")
        client.send_task("jobs.later", [9, 0], queue="default")

        def counts() -> tuple[int, int]:
            for answer in client.control.broadcast("fleet_state", reply=True, timeout=1, destination=[NODE]) or ():
                return answer[NODE]["failed"], answer[NODE]["succeeded"]
            return 0, 0

        assert until(lambda: counts() == (3, 4)), (counts(), output(here))  # a retry without an error is neither
