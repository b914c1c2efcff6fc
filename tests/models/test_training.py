"""Run every stage of pocket's training by its command for a moment: the loss falls, a second run goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.checkpoints.assemble import load_tiny_codec
from models.pocket import weights

ROOT = Path(__file__).resolve().parents[2]


def train(out: Path, stage: str, minutes: float, *more: str) -> list[float]:
    """Run the command; the losses that it printed."""
    command = [sys.executable, "-m", "models.pocket.training", "--out", str(out), "--stage", stage, *more]
    run = subprocess.run([*command, "--minutes", str(minutes)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [float(x) for x in re.findall(r"loss ([\d.]+)", run.stdout)]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_stage_learns_and_goes_on_from_its_weights(tmp_path: Path) -> None:
    train(tmp_path, "codec", 2.1)
    first = weights.history(tmp_path / "codec.safetensors")
    train(tmp_path, "codec", 1.1)
    second = weights.history(tmp_path / "codec.safetensors")
    assert [r["stage"] for r in second] == ["codec", "codec"]
    assert second[0] == first[0]
    assert float(second[1]["psnr_db"]) > float(first[0]["psnr_db"]) - 0.5
    losses = train(tmp_path, "base", 5.1, "--clips", "48")
    assert losses[-1] < 0.8 * losses[0]
    again = train(tmp_path, "base", 1.1)
    assert again[0] < 0.9 * losses[0]
    for stage in ("rollout", "long"):
        assert train(tmp_path, stage, 1.1)
    history = weights.history(tmp_path / "transformer.safetensors")
    assert [r["stage"] for r in history] == ["base", "base", "rollout", "long"]
    assert all(float(r["steps"]) > 0 for r in history)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_the_avatars_stages_learn_and_go_on_from_their_weights(tmp_path: Path) -> None:
    avatar = ("--model", "pocket-avatar")
    train(tmp_path, "codec", 1.1, *avatar)
    losses = train(tmp_path, "base", 4.1, *avatar, "--clips", "36")
    assert losses[-1] < losses[0]
    assert train(tmp_path, "base", 1.1, *avatar)[0] < losses[0]
    assert train(tmp_path, "rollout", 1.1, *avatar)
    assert train(tmp_path, "decoder", 1.1, *avatar)
    history = weights.history(tmp_path / "transformer.safetensors")
    assert [r["stage"] for r in history] == ["base", "base", "rollout"]
    # an avatar's codec begins as pocket's, whose history it goes on with
    assert [r["stage"] for r in weights.history(tmp_path / "codec.safetensors")][-2:] == ["codec", "decoder"]
    assert all(float(r["steps"]) > 0 for r in history)


def test_a_decoder_is_trained_behind_latents_that_stay_as_they_are(tmp_path: Path) -> None:
    shutil.copy(ROOT / "assets" / "pocket" / "codec.safetensors", tmp_path)
    before = load_tiny_codec(tmp_path / "codec.safetensors")
    train(tmp_path, "decoder", 0.02)
    after = load_tiny_codec(tmp_path / "codec.safetensors")
    assert after.config == before.config
    changed = [n for n, w in before.state_dict().items() if not torch.equal(w, after.state_dict()[n])]
    assert {n.split(".")[0] for n in changed} == {"decoder"}
    facts = weights.history(tmp_path / "codec.safetensors")[-1]
    assert facts["stage"] == "decoder"
    assert float(facts["psnr_db"]) > 20


def test_a_stage_without_what_it_needs_says_so(tmp_path: Path) -> None:
    scratch = ("--from-scratch",)
    asked = (
        ("base", "codec", ()),
        ("rollout", "codec", ()),
        ("long", "transformer", ()),
        ("decoder", "goes on", scratch),
    )
    for stage, missing, more in asked:
        if missing == "transformer":
            shutil.copy(ROOT / "assets" / "pocket" / "codec.safetensors", tmp_path)
        command = [sys.executable, "-m", "models.pocket.training", "--out", str(tmp_path), "--stage", stage, *more]
        run = subprocess.run([*command, "--minutes", "1"], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 2
        assert missing in run.stderr.splitlines()[-1]
