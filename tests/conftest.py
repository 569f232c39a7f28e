"""What holds for every test."""

import os
import signal

import pytest

# A job in the background of a shell script starts with SIGINT ignored, and all its children would inherit that: tests that
# interrupt a command would wait for ever. A handler of our own is none of the children's: they start with the default.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _state_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the fleet command keeps between runs is not the user's."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
