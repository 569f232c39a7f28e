"""A RabbitMQ of several nodes, all of them on this machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.unit.rabbitmq_support import Node, running_node


@contextmanager
def running_cluster(folder: Path, number: int = 3) -> Iterator[list[Node]]:
    """A cluster of nodes, for one test. The first has epmd, which the others need: it is to be stopped last."""
    with ExitStack() as stack:
        first = stack.enter_context(running_node(folder / "1"))
        nodes = [first]
        for index in range(2, number + 1):
            own = folder / str(index)
            own.mkdir()
            cookie = own / ".erlang.cookie"
            cookie.write_text((first.folder / ".erlang.cookie").read_text())
            cookie.chmod(0o400)
            node = stack.enter_context(running_node(own, epmd_port=first.epmd_port))
            for words in (("stop_app",), ("join_cluster", f"test{first.port}@localhost"), ("start_app",)):
                node.control(*words)
            nodes.append(node)
        yield nodes
