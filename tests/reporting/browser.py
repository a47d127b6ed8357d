"""A headless Chromium driven over its debugging pipe: no package, no port, no network.

Reference: Chrome DevTools Protocol, messages of JSON ended by a zero byte on file descriptors 3
(to the browser) and 4 (from it).
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 60
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-ipc-flooding-protection",  # a test changes the address faster than people do
    "--remote-debugging-pipe",
)
_KEYS = {"Tab": 9, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}


@contextmanager
def chromium(profile: Path) -> Iterator["Browser"]:
    """Runs a browser; skips the test where there is none."""
    if EXECUTABLE is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    to_child, commands = os.pipe()
    answers, from_child = os.pipe()
    # A shell, because only it can give a child descriptors by number.
    line = f'exec "$@" 3<&{to_child} 4>&{from_child}'
    command = ["bash", "-c", line, "bash", EXECUTABLE, *_OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command,
        pass_fds=(to_child, from_child),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_child)
    os.close(from_child)
    browser = Browser(commands, answers)
    try:
        yield browser
        browser.send("Browser.close")
        process.wait(timeout=_SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(answers)


class Browser:
    """Sends commands and keeps the events that come meanwhile."""

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Returns the result of a command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event: str, session: str) -> None:
        """Returns when an event has come."""
        end = time.monotonic() + _SECONDS
        while not any(e.get("method") == event and e["sessionId"] == session for e in self.events):
            assert time.monotonic() < end, f"{event} did not come"
            self.events.append(self._receive())

    def open(self, path: Path, address: str = "", **view: Any) -> "Page":
        """Opens a file in a new page, with ``address`` behind its name."""
        return Page(self, path.as_uri() + address, **view)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._answers, 1 << 20)
            assert data, "chromium has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """An open page."""

    def __init__(
        self, browser: Browser, url: str, width: int = 1280, height: int = 900, dark: bool = False
    ):
        self._browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        answer = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired", self._session)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the result of a command to this page."""
        return self._browser.send(method, self._session, **params)

    def resize(self, width: int, height: int) -> None:
        """Gives the window a size in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def run(self, script: str) -> Any:
        """Returns the value of an expression, or of a function's body with ``return``."""
        if "return" in script:
            script = f"(() => {{{script}}})()"
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def problems(self) -> list[dict[str, Any]]:
        """Returns what the console shows: exceptions, errors, warnings."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        events = self._browser.events
        mine = [e for e in events if e.get("sessionId") == self._session]
        return [e["params"] for e in mine if e.get("method") in kinds]

    def key(self, name: str) -> None:
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            code = _KEYS[name]
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code
            )

    def point(self, x: float, y: float) -> None:
        """Moves the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def tap(self, x: float, y: float) -> None:
        """Touches the screen."""
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def print_media(self) -> None:
        """Shows the page as it is printed."""
        self.send("Emulation.setEmulatedMedia", media="print")

    def pdf(self) -> bytes:
        """Returns the page as it is printed, on the paper that its styles ask for."""
        answer = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(answer["data"])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Writes what is seen, or all of the page, as png."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Closes the page."""
        self._browser.send("Target.closeTarget", targetId=self.target)
