"""A headless browser that a test drives, over a pipe: no package is needed, no port is opened."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    not BROWSER, reason=f"no headless browser: none of {', '.join(BROWSERS)} is installed"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    "--remote-debugging-pipe",
)
# The browser reads from descriptor 3 and writes to 4.
LAUNCH = """
import os, sys
for place, descriptor in ((101, sys.argv[1]), (102, sys.argv[2]), (3, 101), (4, 102)):
    os.dup2(int(descriptor), place)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 60  # to wait for an answer


class Browser:
    """One page in a headless browser, by the Chrome DevTools Protocol.

    `complaints` are what the console said: warnings, errors, exceptions. `requests` are the
    addresses that the page asked for, its own among them.
    """

    def __init__(self, profile: Path) -> None:
        assert BROWSER
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        arguments = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), BROWSER, *arguments],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = os.fdopen(ours_in, "rb", 0), os.fdopen(ours_out, "wb", 0)
        self._rest = b""
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        # What the page takes of a processor, whoever else wants it.
        self.call("Performance.enable", timeDomain="threadTicks")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in.fileno(), 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        raw, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(raw)
        said = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if said["type"] in ("warning", "error", "assert"):
                self.complaints.append(str([one.get("value") for one in said["args"]]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(said["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
        return message

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def busy(self) -> float:
        """The seconds of a processor that the page has taken, for scripts, layout and painting."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def open(self, page: Path, fragment: str = "", ready: str = "true") -> None:
        """Load a page anew, and wait until `ready` is true."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.as_uri() + fragment)
        self.wait(f"document.readyState === 'complete' && {ready}")

    def press(self, key: str) -> None:
        """Press a key and let go of it."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            own = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **own)

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Make the window so large, and say whether the reader likes it dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def close(self) -> None:
        """End the browser."""
        self._out.close()
        self._in.close()
        self._process.terminate()
        self._process.wait()
