"""The command line over engines: export, then render and serve on what was exported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

TAKE = """
model: pocket
seed: 7
length: 4s
cues:
  - prompt: a red ball bounces over the meadow by day
  - at: 2s
    prompt: a blue fish drifts right over the sea by day
"""


def longtake(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_DATA_HOME": str(home)}
    environment.pop("LONGTAKE_MODELS", None)
    command = [sys.executable, "-m", "app.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    (tmp_path / "take.yaml").write_text(TAKE)
    return tmp_path / "take.yaml"


@pytest.mark.parametrize(
    ("engine", "said"),
    [("opennx", "there is no engine 'opennx'"), ("onnx:fp32", "make it with: longtake export pocket --engine onnx")],
)
def test_an_engine_that_is_not_there_is_one_line(tmp_path: Path, take: Path, engine: str, said: str) -> None:
    done = longtake(tmp_path, "render", str(take), "-o", str(tmp_path / "out.mp4"), "--engine", engine)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_server_that_cannot_have_its_engine_does_not_start(tmp_path: Path) -> None:
    done = longtake(tmp_path, "serve", "--port", "18799", "--engine", "onnx:int8")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no onnx int8 engine of pocket is here; make it with: longtake export")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_is_exported_renders_starts_within_a_second_and_stands_in_the_take(tmp_path: Path, take: Path) -> None:
    done = longtake(tmp_path, "export", "pocket", "--engine", "onnx", "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert "good: latents within" in done.stdout
    seconds: dict[str, list[float]] = {"torch": [], "onnx:fp32": []}
    for engine in [*seconds] * 3:
        began = time.monotonic()
        done = longtake(tmp_path, "render", str(take), "-o", str(tmp_path / "out.mp4"), "--engine", engine)
        seconds[engine].append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
    record = yaml.safe_load((tmp_path / "out.take.yaml").read_text())["record"]
    assert (record["engine"], record["precision"]) == ("onnx", "fp32")
    # the engine draws faster than torch, so what it costs to start is at most what is left
    assert min(seconds["onnx:fp32"]) < min(seconds["torch"]) + 1
    done = longtake(tmp_path, "render", str(take), "-o", str(tmp_path / "out.mp4"))
    assert "engine: onnx fp32, " in done.stderr or "engine: torch, none of" in done.stderr
