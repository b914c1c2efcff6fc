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
    data: Path, *options: str, token: str | None = None, program: str | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start `longtake serve`, and give its address and process once it is ready.

    `program` is a file in this folder that runs the command line with a change of its own.
    """
    port = free_port()
    env = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "OMP_WAIT_POLICY": "passive"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    env |= {"LONGTAKE_TOKEN": token} if token else {}
    start = [str(ROOT / "tests" / "app" / program)] if program else ["-m", "app.cli"]
    command = [sys.executable, *start, "serve", "--port", str(port), "--data", str(data), *options]
    with (data / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError((data / "serve.log").read_text())
        yield address, process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(15)
