"""Run the example of the client for agents, and check that it needs none of the packages that draw."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from avatar_client import begin
from studio_server import serving

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("agents"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


def test_the_example_streams_a_voice_and_is_told_what_was_heard_when_it_interrupts(server: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "app.client.avatar_session" in block)
    assert len(example.splitlines()) <= 60
    done = subprocess.run([sys.executable, "-c", example, server], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "now heard: Good evening." in done.stdout
    heard = re.search(r"interrupted story after (\d+\.\d) s: Once", done.stdout)
    assert heard is not None, done.stdout
    assert 2 <= float(heard[1]) < 6


def test_the_client_loads_nothing_that_draws() -> None:
    heavy = "{'torch', 'numpy', 'av', 'gradio', 'fastapi'} & set(sys.modules)"
    code = f"import sys, app.client.avatar_session; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_a_text_is_spoken_in_the_language_and_at_the_speed_that_are_asked_for(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}

    def say(**how: object) -> httpx.Response:
        return httpx.post(
            f"{url}/say", json={"text": "Guten Abend, wie geht es Ihnen?", **how}, headers=key, timeout=30
        )

    usual, fast = say(language="de"), say(language="de", speed=300, voice="m3", pitch=20)
    assert (usual.status_code, fast.status_code) == (202, 202), (usual.text, fast.text)
    assert fast.json()["seconds"] < 0.8 * usual.json()["seconds"]
    for wrong in ({"language": "xx"}, {"language": "-v"}, {"voice": "nobody"}, {"speed": 20}, {"pitch": 100}):
        refused = say(**wrong)
        assert refused.status_code in (400, 422), wrong
        assert "\n" not in refused.json()["error"]
    httpx.delete(url, headers=key)
