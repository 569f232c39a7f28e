"""Save, load or reset a running VM, through the QMP socket of its QEMU."""

import json
import os
import socket
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError

SNAPSHOT = "fresh"


def save(directory: Path, name: str) -> None:
    """Save the running VM's memory and disk as the snapshot "fresh", in its qcow2. Raises `LabError` if that fails."""
    _monitor(directory, name, f"savevm {SNAPSHOT}")


def load(directory: Path, name: str) -> None:
    """Put the running VM back to the snapshot "fresh". Raises `LabError` if there is none, or that fails."""
    _monitor(directory, name, f"loadvm {SNAPSHOT}")


def reset(directory: Path, name: str) -> None:
    """Press the reset button of the running VM. Raises `LabError` if that fails."""
    _monitor(directory, name, "system_reset")


def _monitor(directory: Path, name: str, command: str, timeout: float = 120) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            # The path goes through the open folder: a socket's path has at most 107 bytes, which a deep lab exceeds.
            sock.connect(f"/proc/self/fd/{folder}/{name}.qmp")
            with sock.makefile("rw") as stream:
                json.loads(stream.readline())  # the greeting
                _execute(stream, "qmp_capabilities", {})
                answer = _execute(stream, "human-monitor-command", {"command-line": command})
    except (OSError, ValueError) as error:
        raise LabError(f"{name}: no answer from its QEMU to {command!r}: {error}") from error
    finally:
        os.close(folder)
    if answer:  # the human monitor answers a success with nothing
        raise LabError(f"{name}: {command}: {str(answer).strip()}")


def _execute(stream: IO[str], command: str, arguments: dict[str, str]) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    while line := stream.readline():
        message = json.loads(line)
        if "return" in message:
            return message["return"]
        if "error" in message:
            return message["error"].get("desc", "unknown error")
    raise OSError("the connection ended")
