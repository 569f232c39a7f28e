"""What a step prints for the control side. Standard library alone."""

import sys


def say(line: str) -> None:
    """Print a line. A lost connection ends nothing: the step goes on without a reader."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        pass
