"""Drive Debian's Firefox without a display over WebDriver BiDi, which it speaks on a WebSocket of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from studio_server import free_port
from websockets.sync.client import ClientConnection, connect

FIREFOX = shutil.which("firefox-esr")
needs_firefox = pytest.mark.skipif(FIREFOX is None, reason="needs Firefox: apt-get install firefox-esr")
SETTINGS = {
    "media.peerconnection.ice.obfuscate_host_addresses": True,  # as a person has it
    "media.autoplay.default": 0,
    "media.navigator.streams.fake": True,  # a camera without a device
    "media.navigator.permission.disabled": True,
    "media.gmp-gmpopenh264.enabled": False,  # no download
    "media.gmp-manager.updateEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


class Firefox:
    """Hold one window."""

    def __init__(self, socket: ClientConnection) -> None:
        """Begin a session over an open socket."""
        self._socket, self._number = socket, 0
        self.version = str(self.ask("session.new", capabilities={})["capabilities"]["browserVersion"])
        (window,) = self.ask("browsingContext.getTree")["contexts"]
        self._window = window["context"]

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result; RuntimeError if it fails."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != self._number:
            continue
        if answer["type"] == "error":
            raise RuntimeError(answer["message"])
        result: dict[str, Any] = answer["result"]
        return result

    def goto(self, url: str) -> None:
        """Load a page."""
        self.ask("browsingContext.navigate", context=self._window, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, whose promise is awaited."""
        answer = self.ask(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((x) => JSON.stringify(x) ?? 'null')",
            target={"context": self._window},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait until a JavaScript condition is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"not within {seconds} s: {condition}"
            time.sleep(0.1)


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Run one Firefox with a new profile in a folder."""
    assert FIREFOX is not None
    port = free_port()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in SETTINGS.items()]
    (folder / "user.js").write_text("\n".join(lines))
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", str(port)]
    with subprocess.Popen(
        [*command, "about:blank"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "WebDriver BiDi listening" in line:
                    break
            else:
                raise RuntimeError("".join(said))
            with connect(f"ws://127.0.0.1:{port}/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            process.terminate()
