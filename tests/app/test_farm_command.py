"""Test `longtake farm`: what it renders, passes over, refuses, and leaves behind when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import refused, run
from render_children import is_alive, renders_of

from models.checkpoints.assemble import ASSETS

ROOT = ASSETS.parent
CUES = "cues:\n  - prompt: a red ball bounces over the meadow by day\n"


def write(file: Path, *, seed: int = 1, length: int = 3, more: str = "") -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"size: 64x64\nseed: {seed}\nlength: {length}\n{CUES}{more}")
    return file


def test_a_film_equals_that_of_render_and_is_passed_over_once_it_is_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as this process has them
    take, out = write(tmp_path / "a.yaml"), tmp_path / "out"
    broken = tmp_path / "b.yaml"
    broken.write_text("cues: [")
    result = run(capsys, "farm", take, broken, "-o", out)
    refused(result, "1 of 2 films failed")
    assert [line.partition(":")[2].split(":")[0] for line in result[2].splitlines() if line.startswith("failed")] == [
        " b.yaml"
    ]
    assert run(capsys, "render", take, "-o", tmp_path / "alone.mp4")[0] == 0
    assert (out / "a.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()

    def started(*_: object) -> None:
        raise AssertionError("a finished film is rendered again")

    monkeypatch.setattr("app.farm_workers.farm_program", started)
    code, said, _ = run(capsys, "farm", take, "-o", out)
    assert (code, said.splitlines()) == (
        0,
        [f"{out / 'a.mp4'}: was finished before", f"1 of 1 films are finished in {out}"],
    )
    other = run(capsys, "farm", take, "-o", out, "--scale", "2")
    refused(other, "1 of 1 films failed")
    assert "was made in another way (--scale 1 → 2); --restart begins it anew" in other[2]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("one/x.yaml", "two/x.yaml"), "both would write x.mp4"),
        (("one/x.yaml", "one/x.yaml"), "both would write x.mp4"),
        (("one/x.yaml", "one/x.silent.yaml"), "both would write x.silent.mp4"),
        (("out/x.yaml", "out/x.take.yaml"), "x.take.yaml: would be overwritten by the render of"),
        (("one/none.yaml",), "cannot be read (no such file)"),
    ],
)
def test_films_that_would_overwrite_each_other_or_a_take_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    takes = [tmp_path / name if "none" in name else write(tmp_path / name) for name in names]
    refused(run(capsys, "farm", *takes, "-o", tmp_path / "out"), says)
    assert list((tmp_path / "out").glob("*.mp4")) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--ray", "auto"), "needs Ray, which is not installed: pip install -e '.[cluster]'"),
        (("--device", "cuda:9"), "cuda:9"),
        (("--device", "tpu"), "Longtake runs on cpu and cuda"),
    ],
)
def test_where_nothing_can_be_rendered_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, str],
    says: str,
) -> None:
    monkeypatch.setattr("app.commands.farm.find_spec", lambda name: None)
    refused(run(capsys, "farm", write(tmp_path / "a.yaml"), "-o", tmp_path / "out", *given), says)


def farm(takes: list[Path], out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "farm", *map(str, takes), "-o", str(out), *more]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_films_whose_processes_are_killed_and_a_farm_that_is_stopped_end_as_they_would_have_alone(
    tmp_path: Path,
) -> None:
    """Kill one render three times, stop the farm by SIGTERM, run it again; one film is drawn in parts."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    scenes = "".join(
        f"  - {{at: {at}, cut: true, prompt: a blue fish drifts over the sea at night}}\n" for at in (24, 51)
    )
    takes = [write(tmp_path / f"{n}.yaml", seed=n, length=96, more=scenes if n == 3 else "") for n in (1, 2, 3)]
    alone, out = tmp_path / "alone", tmp_path / "out"
    alone.mkdir()
    for take in takes:
        command = [sys.executable, "-m", "app.cli", "render", str(take), "-o", str(alone / f"{take.stem}.mp4")]
        subprocess.run(command, check=True, cwd=ROOT, env=env, capture_output=True)
    farming = subprocess.Popen(farm(takes, out, "--workers", "2", "--split-at-cuts"), cwd=ROOT, env=env)
    killed: set[int] = set()
    while len(killed) < 3:
        assert farming.poll() is None
        for child in renders_of(farming.pid, takes[0]):
            if child.pid not in killed:
                time.sleep(3)  # at any moment
                killed.add(child.pid)
                child.kill()
        time.sleep(0.1)
    while not (children := renders_of(farming.pid)):
        time.sleep(0.05)
    farming.send_signal(signal.SIGTERM)
    assert farming.wait(60) == 143
    assert [child for child in children if is_alive(child)] == []
    again = farm(takes, out, "--workers", "2", "--split-at-cuts")
    done = subprocess.run(again, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for take in takes:
        name = f"{take.stem}.mp4"
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    assert list(out.glob("*.parts")) == []
