"""A task that succeeded is a success, whatever becomes of its worker's connection to the results."""

from tests.matrix.support import output
from tests.unit.fleet_node.delivery.proxy import proxy
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE

ANSWER = """
@app.task
def answer(number):
    return number
"""


def test_a_connection_that_was_forgotten_on_its_way_is_made_anew(here: Machine) -> None:
    """As after a cut of the network: Redis has dropped connections, and the worker does not know."""
    here.concurrency = 2
    with proxy(here.port) as way, here.client() as client:
        here.more["CELERY_RESULT_BACKEND"] = f"redis://127.0.0.1:{way.port}/1"
        here.start(here.release("r", ANSWER))

        def answers() -> list[int]:
            sent = [client.send_task("jobs.answer", [number], queue="default") for number in range(10)]
            return [result.get(timeout=PATIENCE) for result in sent]

        assert answers() == list(range(10)), output(here)
        for connection in way.connections:
            connection.forgotten = True
        assert answers() == list(range(10)), output(here)
