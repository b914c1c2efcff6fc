"""Run agents of the real pipecat-ai, in an environment of its own, with an avatar as their face."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from studio_server import ROOT, serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # pip takes minutes on a busy machine

VERSION = "1.14.0"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("avatar"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Python of a new environment with pipecat-ai; what it lacks comes from the present environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    site = next((folder / "lib").glob("python3.*/site-packages"))
    (site / "present.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    program = str(folder / "bin" / "python")
    command = [program, "-m", "pip", "install", "-q", "--no-compile", f"pipecat-ai=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    return program


def run(python: str, *command: str) -> str:
    """Run a program in that environment, and return what it printed."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    done = subprocess.run([python, *command], capture_output=True, text=True, check=False, env=env, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pipecat_agent_is_heard_and_its_turn_ends_when_all_was_heard(server: str, python: str) -> None:
    told = json.loads(run(python, str(HERE / "pipecat_agent.py"), server, "whole"))
    assert told["version"] == VERSION
    assert told["said"] == [told["script"][0]]
    assert told["since_last_sound_s"] > -0.1


@pytest.mark.parametrize("by", ["pipeline", "voice"])
def test_the_context_of_an_interrupted_agent_ends_at_what_was_heard(server: str, python: str, by: str) -> None:
    told = json.loads(run(python, str(HERE / "pipecat_agent.py"), server, by))
    long, short = told["script"]
    cut, answer = told["said"]
    assert long.startswith(cut)
    assert answer == short
    share = told["heard_s"] / 11.5  # seconds that espeak-ng takes for all of it
    assert len(cut.split()) / len(long.split()) == pytest.approx(share, abs=0.15)
    assert told["silent_after_ms"] < (400 if by == "pipeline" else 1000)  # a voice has to go on for 160 ms
    print(told)


def test_the_example_of_the_documents_speaks(server: str, python: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8").split("## Pipecat")[1]
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(example.splitlines()) <= 60
    (tmp_path / "agent.py").write_text(example, encoding="utf-8")
    out = run(python, str(tmp_path / "agent.py"), server)
    assert "it was heard to say: Hello! I am the face of this agent. Ask me anything." in out
