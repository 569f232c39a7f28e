"""A headless Chromium, driven over its debugging pipe: what a page shows, says on the console, and asks for."""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 40


class Browser:
    """One page. events: all that Chromium has told, as (method, parameters)."""

    def __init__(self, send: int, receive: int) -> None:
        self.send, self.receive = send, receive
        self.left = b""
        self.number = 0
        self.session = ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.receive], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            read = os.read(self.receive, 1 << 16)
            assert read, "Chromium has ended"
            self.left += read
        text, _, self.left = self.left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return message

    def open(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        before = len(self.events)
        self.ask("Page.navigate", url=url)
        while not any(method == "Page.loadEventFired" for method, _ in self.events[before:]):
            self._next()

    def resize(self, width: int, height: int = 900, *, dark: bool = False, media: str = "") -> None:
        """The size of the window, the user's choice of colours, and "print" for how a page is printed."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def value(self, expression: str) -> Any:
        """What a script says of the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path, **more: Any) -> None:
        """The whole page as a PNG."""
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True, **more)
        path.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        return base64.b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    @property
    def complaints(self) -> list[str]:
        """What is on the console: messages of scripts, errors, and refusals of the browser's."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(parameters) for method, parameters in self.events if method in kinds]

    @property
    def requests(self) -> list[str]:
        """The URLs that were asked for."""
        return [parameters["request"]["url"] for method, parameters in self.events if method == "Network.requestWillBeSent"]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium; it ends with the context. folder: for its profile, and its log."""
    theirs, send = _pipe()
    receive, answers = _pipe()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command = ["chromium", *options, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"]
    # Chromium reads commands from 3 and writes to 4.
    shell = f'exec 3<&{theirs} 4>&{answers}; exec "$@"'
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command], stdout=log, stderr=log, pass_fds=(theirs, answers), start_new_session=True
        )
    os.close(theirs)
    os.close(answers)
    try:
        yield Browser(send, receive)
    finally:
        os.close(send)
        os.close(receive)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not those that Chromium uses."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
