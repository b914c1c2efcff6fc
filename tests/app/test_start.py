"""Test that a server takes its port first, answers while it loads, and reports mistakes before it loads anything."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from command_line import refused, run
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from studio_server import free_port, serving

from app import listening
from app.data_folder import require_alone
from app.opening import Opening

ROOT = Path(__file__).resolve().parents[2]
LONGTAKE = [sys.executable, "-m", "app.cli"]


def test_a_taken_port_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run(capsys, "serve", "--port", port, "--data", tmp_path / "d")
    refused(result, f"port {port} of 127.0.0.1 is taken", "--port")
    assert "listens" not in result[1]


@pytest.mark.skipif(sys.platform == "win32", reason="a folder has no lock there")
def test_a_folder_of_takes_is_for_one_server_until_that_ends_however_it_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hold = "import sys, pathlib, app.data_folder as d; d.require_alone(pathlib.Path(sys.argv[1])); input(print('held'))"
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path], cwd=ROOT, stdout=PIPE, stdin=PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        result = run(capsys, "serve", "--port", free_port(), "--data", tmp_path)
        refused(result, f"{tmp_path}: another server uses this folder; end it, or choose another with --data")
        assert "listens" not in result[1]
        first.kill()
    require_alone(tmp_path)
    require_alone(tmp_path)  # it is this one's


def test_ipv6_addresses_are_printed_in_brackets() -> None:
    assert listening.url("::1", 7860, secure=False) == "http://[::1]:7860"
    assert listening.url("localhost", 1, secure=True) == "https://localhost:1"


def test_files_that_are_not_certificates_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    (tmp_path / "k.pem").write_text("no key")
    pair = ("--tls-cert", tmp_path / "c.pem", "--tls-key", tmp_path / "k.pem")
    refused(run(capsys, "serve", *pair), "c.pem: holds no certificate in PEM format")
    refused(run(capsys, "serve", *pair[:2]), "--tls-cert and --tls-key go together")


def test_a_server_reports_what_it_is_loading() -> None:
    def build(say: object) -> Starlette:
        raise AssertionError("nothing is built before the server lives")

    client = TestClient(Opening(build, lambda: None))  # without a `with`: its life does not begin
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["reason"] == "Longtake is starting: loading Longtake"
    page = client.get("/avatar/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["retry-after"]) == (503, "1")
    assert 'fetch("../readyz"' in page.text
    assert client.post("/api/sessions").json() == {"error": "Longtake is starting: loading Longtake"}
    with client.websocket_connect("/api/sessions/1/audio") as socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1013, "Longtake is starting: loading Longtake")


@pytest.mark.skipif(importlib.util.find_spec("hibari") is None, reason='needs pip install "longtake[voice]"')
def test_the_neural_voice_is_loaded_before_the_server_is_ready(tmp_path: Path) -> None:
    with serving(tmp_path, "--tiny", "--voice", "hibari", program="avatar_server.py"):
        log = (tmp_path / "serve.log").read_text()
    assert log.index("loading the voice hibari") < log.index("ready after")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_without_unicode_causes_no_traceback(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [*LONGTAKE, "render", "ü→🎈.yaml"], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, timeout=60
    )
    assert done.returncode in (1, 2)
    assert (done.stderr.count(b"error:"), b"Traceback" in done.stderr) == (1, False)


def test_a_closed_pipe_causes_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*LONGTAKE, "--help"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
