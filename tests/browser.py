"""A real browser, driven over Chrome's DevTools protocol through two pipes; needs no library."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 60.0  # for any answer; far above what one takes, so that a hang is a failure
FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars"),
    # Containers have neither the rights for a sandbox nor much shared memory.
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--no-proxy-server"),
)


class Page:
    """A tab of a running browser."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest = to, back, b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The answer to a command; what the browser tells meanwhile is added to `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(LIMIT_S)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, file: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Loads a file into a window of a size."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=file.as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page; promises are waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + LIMIT_S
        while not self.value(expression):
            assert time.monotonic() < end, f"never: {expression}"
            time.sleep(0.02)

    def press(self, key: str, code: int) -> None:
        """A key down and up, where the focus is."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def click(self, x: float, y: float) -> None:
        """The left mouse button down and up at a place of the window."""
        for kind, buttons in (("mousePressed", 1), ("mouseReleased", 0)):
            at = {"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons}
            self.call("Input.dispatchMouseEvent", **at, clickCount=1)

    def drag(self, x: float, y: float, to_x: float, steps: int = 8) -> None:
        """The left mouse button down, the pointer along a row of the window, and up."""
        places = [x + (to_x - x) * step / steps for step in range(steps + 1)]
        for kind, buttons, place in (
            ("mousePressed", 1, x),
            *(("mouseMoved", 1, place) for place in places),
            ("mouseReleased", 0, to_x),
        ):
            at = {"type": kind, "x": place, "y": y, "button": "left", "buttons": buttons}
            self.call("Input.dispatchMouseEvent", **at, clickCount=1)

    def screenshot(self) -> bytes:
        """A PNG file of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions, since the start."""
        self.call("Runtime.evaluate", expression="0")  # brings in what is under way
        found: list[str] = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            loud = told.get("entry", {}).get("level") in ("error", "warning")
            if method == "Runtime.exceptionThrown" or (method == "Log.entryAdded" and loud):
                found.append(json.dumps(told))
            if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                found.append(json.dumps(told))
        return found

    def requests(self) -> list[str]:
        """Addresses that were asked for, but for data within the page."""
        sent = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        addresses = [told["request"]["url"] for told in sent]
        return [address for address in addresses if not address.startswith("data:")]

    def _next(self, wait_s: float) -> dict[str, Any] | None:
        while b"\0" not in self._rest:
            if not select.select([self._back], [], [], wait_s)[0]:
                return None
            chunk = os.read(self._back, 1 << 20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def browser(profile: Path) -> Generator[Page]:
    """A page of a browser of its own; the test that asks is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    read, to = os.pipe()
    back, write = os.pipe()

    def as_chrome_expects() -> None:
        """Commands come in by descriptor 3, answers go out by 4."""
        high = [os.dup2(fd, fd + 100) for fd in (read, write)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=as_chrome_expects,
        close_fds=False,
    )
    os.close(read)
    os.close(write)
    try:
        yield Page(to, back)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        os.close(to)
        os.close(back)
