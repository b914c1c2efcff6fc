"""The command line over engines: export, then render and serve on what was exported."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from app.engine_choice import exportable
from exporters.artifacts import ExportError
from exporters.engine_modules import Variant

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


def ending(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of what a command said, after its progress; AssertionError if it is no error line."""
    *progress, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback")) for line in progress)
    return last


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
    assert said in ending(done)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("engine", "precision", "said"),
    [
        ("opennx", None, "there is no engine 'opennx'"),
        ("torch", None, "torch is nothing to export; there are onnx, openvino, tensorrt"),
        ("onnx", "int4", "engine onnx knows fp32, fp16, int8, not 'int4'"),
        ("tensorrt", None, "engine tensorrt needs tensorrt, which is not installed"),
    ],
)
def test_what_cannot_be_exported_says_why(engine: str, precision: str | None, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        exportable(engine, precision)


def test_an_engine_may_be_exported_by_the_name_that_other_commands_give_it(tmp_path: Path) -> None:
    assert exportable("onnx:fp16", None) == exportable("onnx", "fp16") == Variant("onnx", "fp16")
    assert exportable("onnx", None) == Variant("onnx", "int8")
    done = longtake(tmp_path, "export", "pocket", "--engine", "onnx:int4")
    assert done.returncode == 1
    assert done.stderr == "error: engine onnx knows fp32, fp16, int8, not 'int4'\n"


def test_a_server_that_cannot_have_its_engine_does_not_start(tmp_path: Path) -> None:
    done = longtake(tmp_path, "serve", "--port", "18799", "--engine", "onnx:int8")
    assert done.returncode == 1
    assert ending(done).startswith("error: no onnx int8 engine of pocket is here; make it with: longtake export")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_is_exported_renders_starts_within_a_second_and_stands_in_the_take(tmp_path: Path, take: Path) -> None:
    done = longtake(tmp_path, "export", "pocket", "--engine", "onnx", "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert "good: latents within" in done.stdout
    # one chunk and no more: a faster engine must not earn back what it took to start
    (tmp_path / "short.yaml").write_text(TAKE.partition("  - at")[0].replace("4s", "3"))
    seconds: dict[str, list[float]] = {"torch": [], "onnx:fp32": []}
    for engine in [*seconds] * 5:
        began = time.monotonic()
        done = longtake(
            tmp_path, "render", str(tmp_path / "short.yaml"), "-o", str(tmp_path / "short.mp4"), "--engine", engine
        )
        seconds[engine].append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
    more = statistics.median(seconds["onnx:fp32"]) - statistics.median(seconds["torch"])
    print(f"\nfrom the command to a film of one chunk: {more:+.2f} s with the engine; {seconds}")
    assert more < 1
    done = longtake(tmp_path, "render", str(take), "-o", str(tmp_path / "out.mp4"), "--engine", "onnx:fp32")
    assert done.returncode == 0, done.stderr
    record = yaml.safe_load((tmp_path / "out.take.yaml").read_text())["record"]
    assert (record["engine"], record["precision"]) == ("onnx", "fp32")
    done = longtake(tmp_path, "render", str(take), "-o", str(tmp_path / "out.mp4"))
    assert "engine: onnx fp32, " in done.stderr or "engine: torch, none of" in done.stderr
