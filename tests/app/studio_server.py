"""Start a real server as a user does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def serving(
    data: Path,
    *options: str,
    token: str | None = None,
    program: str | None = None,
    grace: int | None = None,
    port: int | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start `longtake serve`, and give its address and process once it is ready.

    `program` is a file in this folder that runs the command line with a change of its own; `grace` is how many seconds
    a session lives without a viewer or a command; `port` is a free one if absent.
    """
    port = port or free_port()
    env = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "OMP_WAIT_POLICY": "passive"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    env |= {"LONGTAKE_TOKEN": token} if token else {}
    env |= {"LONGTAKE_GRACE": str(grace)} if grace else {}
    start = [str(ROOT / "tests" / "app" / program)] if program else ["-m", "app.cli"]
    command = [sys.executable, *start, "serve", "--port", str(port), "--data", str(data), *options]
    with (data / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not _is_ready(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((data / "serve.log").read_text())
            time.sleep(0.1)
        yield address, process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(15)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=10).status_code == 200  # 503 while it loads
    except httpx.TransportError:
        return False
