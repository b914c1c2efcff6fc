"""Codec training: what is drawn and cropped, what the loss counts, how a codec grows, and the whole plan in small."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoints.weight_files import CheckpointError
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.pocket import weights
from models.pocket.training.codec import CodecTraining, begun
from models.pocket.training.codec_growth import grown
from models.pocket.training.codec_loss import Adversary, picture_loss
from models.pocket.training.drawing_pool import DrawingError, DrawingPool
from models.pocket.training.footage import CELL, FRAMES, LEAD, ClipBank

ROOT = Path(__file__).resolve().parents[2]
SMALL = TinyCodecConfig(
    latent_channels=4,
    patch_size=2,
    encoder_width=8,
    encoder_strides=(2, 2, 1),
    decoder_widths=(8, 8, 6, 6),
    decoder_scales=(2, 2, 1),
    bounded=True,
)
LARGE = dataclasses.replace(SMALL, latent_channels=6, patch_size=4, encoder_width=16, decoder_widths=(16, 12, 8, 12))


def numbered(rng: random.Random) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    value = rng.randrange(200)
    return (np.full((3, 4), value, np.uint8), np.full(2, value, np.float32)), value


def test_a_pool_hands_over_what_its_processes_draw_and_draws_on_into_released_slots() -> None:
    with DrawingPool(numbered, workers=2, slots=4, seed=3) as pool:
        values = []
        for _ in range(5):
            filled = pool.take(2, 2)
            for slot, fact in zip(filled.slots.tolist(), filled.facts, strict=True):
                assert (pool.fields[0][slot] == fact).all()
                assert (pool.fields[1][slot] == fact).all()
            values += filled.facts
            pool.release(filled.slots)
    expected = [random.Random(f"3/{n}").randrange(200) for n in range(14)]
    assert len(values) == 10
    assert set(values) <= set(expected)


def test_a_failing_drawing_process_says_why() -> None:
    def draw(rng: random.Random) -> tuple[tuple[np.ndarray], None]:
        if os.getpid() != parent:
            raise ValueError("no such scene")
        return (np.zeros(1, np.uint8),), None

    parent = os.getpid()
    with DrawingPool(draw, workers=1, slots=1) as pool, pytest.raises(DrawingError, match="no such scene"):
        pool.take(1, 1)


def test_drawing_processes_end_with_the_process_that_started_them() -> None:
    program = (
        "import os, numpy as np\n"
        "from models.pocket.training.drawing_pool import DrawingPool\n"
        "pool = DrawingPool(lambda rng: ((np.full(1, os.getpid(), np.int64),), None), workers=1, slots=1)\n"
        "print(int(pool.fields[0][pool.take(1, 1).slots[0]]), flush=True)\n"
        "os._exit(0)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    worker = Path(f"/proc/{int(run.stdout)}")
    until = time.monotonic() + 30
    while worker.exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not worker.exists()


def shot(rng: random.Random) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], None]:
    """Return frames whose colour says where a pixel lies: red = frame, green = column, blue = row."""
    frames = np.empty((FRAMES, 64, 64, 3), np.uint8)
    frames[..., 0] = np.arange(FRAMES)[:, None, None]
    frames[..., 1], frames[..., 2] = np.arange(64)[None, :], np.arange(64)[:, None]
    cells = np.arange(64 // CELL)
    weight = np.broadcast_to(cells[:, None] * 10 + cells, (FRAMES, 8, 8)).astype(np.float16)
    return (frames, weight, np.array([0.75, 0.25], np.float32)), None


def test_crops_hold_the_first_frame_for_a_latent_and_weights_lie_where_their_pixels_do() -> None:
    with DrawingPool(shot, workers=1, slots=4) as pool:
        bank = ClipBank(pool, 4, torch.device("cpu"))
        bank.fill(4, 4)
        video, weight = bank.sample(32, 32)
    assert video.shape == (32, LEAD + FRAMES, 3, 32, 32)
    frame = (255 * video[:, :, 0]).round()
    assert (frame[:, : LEAD + 1] == 0).all()
    assert (frame[:, LEAD:, 0, 0] == torch.arange(FRAMES)).all()
    column, row = ((255 * video[:, LEAD:, c]).round() for c in (1, 2))
    assert torch.equal(weight, torch.floor(row / CELL) * 10 + torch.floor(column / CELL))
    assert ((column[:, 0, 0, 0] % CELL == 0) & (column[:, 0, 0, 0] <= 32)).all()
    assert column[:, 0, 0, 0].mean() > row[:, 0, 0, 0].mean()  # half of them look right of the middle and above it


def test_the_loss_is_zero_for_the_truth_and_counts_dark_and_blurred_places() -> None:
    torch.manual_seed(0)
    dark = 0.1 + 0.05 * torch.rand(1, FRAMES, 3, 32, 32)
    bright, weight = dark + 0.7, torch.ones(1, FRAMES, 32, 32)
    assert picture_loss(dark, dark, weight).item() == 0
    by_night, by_day = (picture_loss(v + 0.02, v, weight).item() for v in (dark, bright))
    assert by_night > 2 * by_day
    noise = 0.2 * torch.rand_like(dark)
    blurred = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 3, 1, 1).view_as(noise)
    shifted = noise + (blurred - noise).square().mean().sqrt()  # as large an error, and sharp
    assert picture_loss(blurred, noise, weight) > 1.5 * picture_loss(shifted, noise, weight)


def test_a_grown_codec_shows_what_the_smaller_one_does_at_twice_the_size() -> None:
    torch.manual_seed(0)
    small, video = TinyCodec(SMALL), torch.rand(2, 8, 3, 32, 32)
    large = grown(small, LARGE, video)
    half = torch.nn.functional.avg_pool2d(video.flatten(0, 1), 2).unflatten(0, (2, 8))
    with torch.no_grad():
        z = large.encode(video)
        torch.testing.assert_close(z[:, :4], small.encode(half), atol=1e-5, rtol=1e-4)
        shown = small.decode(small.encode(half))[0].repeat_interleave(2, -1).repeat_interleave(2, -2)
        torch.testing.assert_close(large.decode(z)[0], shown, atol=1e-5, rtol=1e-4)
    assert (z[:, 4:].std((0, 2, 3, 4)) > 0.3).all()
    with pytest.raises(ValueError, match="grows"):
        grown(small, dataclasses.replace(LARGE, decoder_scales=(2, 1, 2)), video)


def test_a_new_codec_begins_with_flat_blocks_of_the_right_colour() -> None:
    torch.manual_seed(0)
    video = torch.rand(4, 1, 3, 1, 1).expand(4, 8, 3, 32, 32).contiguous()
    codec = begun(None, LARGE, video)
    with torch.no_grad():
        z = codec.encode(video)
        out, _ = codec.decode(z)
    assert ((out - video).square().mean() < 0.6 * (video - video.mean()).square().mean()).item()


def test_training_lowers_the_loss_and_a_frozen_encoder_stays_as_it_is() -> None:
    torch.manual_seed(0)
    with DrawingPool(shot, workers=1, slots=4) as pool:
        bank = ClipBank(pool, 4, torch.device("cpu"))
        bank.fill(4, 4)
        training = CodecTraining(TinyCodec(LARGE), torch.device("cpu"))
        losses = []
        for _ in range(30):
            training.step(*bank.sample(2, 32), 1.0)
            losses.append(training.loss.item())
        assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
        alone = training.freeze_encoder(bank)
        before = {n: t.clone() for n, t in alone.codec.state_dict().items()}
        z = alone.codec.encode(bank.sample(4, 64)[0])[:, :, 1:]
        assert (z.std((0, 2, 3, 4)) - 1).abs().max() < 0.3
        adversary = Adversary(torch.device("cpu"), share=0.2)
        for _ in range(3):
            alone.step(*bank.sample(2, 32), 1.0, adversary)
    for now in (alone.codec, alone.average):
        changed = {n.split(".")[0] for n, t in now.state_dict().items() if not torch.equal(t, before[n])}
        assert changed == {"decoder"}


def test_weights_in_shards_load_like_one_file_and_become_one(tmp_path: Path) -> None:
    codec, file = TinyCodec(LARGE), tmp_path / "codec.safetensors"
    facts: weights.Facts = {"stage": "codec", "steps": 7}
    config = dataclasses.asdict(codec.config)
    weights.save(codec, config, file, [facts], shard_bytes=20_000)
    shards = sorted(tmp_path.glob("codec-*.safetensors"))
    assert len(shards) > 1
    assert all(s.stat().st_size < 20_000 + 8_000 for s in shards)  # the header comes on top
    assert not file.exists()
    assert weights.exists(file)
    assert weights.history(file) == [facts]
    in_shards = weights.load_codec(file)
    weights.join_shards(file)
    assert [p.name for p in tmp_path.iterdir()] == ["codec.safetensors"]
    joined = weights.load_codec(file)
    assert joined.config == codec.config == in_shards.config
    for name, tensor in codec.state_dict().items():
        assert torch.equal(joined.state_dict()[name], tensor.half().float())
        assert torch.equal(in_shards.state_dict()[name], joined.state_dict()[name])
    with pytest.raises(CheckpointError, match="no such file"):
        weights.load_codec(tmp_path / "other.safetensors")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_codec_stage_of_the_plan_ends_with_all_its_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.pocket.training.gpu_plan", "--stage", "codec", "--dry-run"]
    run = subprocess.run(
        [*command, "--seconds", "100", "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    names = {"codec", "codec_adversarial"}
    assert names <= set(metrics)
    expected = {f"{n}.safetensors" for n in names} | {f"{n}_sheet.png" for n in names} | {"metrics.json", "log.txt"}
    assert {p.name for p in tmp_path.iterdir()} == expected
    codec = weights.load_codec(tmp_path / "codec.safetensors")
    assert codec.config.latents_std is not None
    assert weights.encoder_digest(codec) == weights.encoder_digest(
        weights.load_codec(tmp_path / "codec_adversarial.safetensors")
    )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_decoder_is_refined_by_the_plan_without_a_change_of_latents(tmp_path: Path) -> None:
    shipped = ROOT / "assets" / "pocket" / "codec.safetensors"
    command = [sys.executable, "-m", "models.pocket.training.gpu_plan", "--stage", "codec", "--dry-run"]
    run = subprocess.run(
        [*command, "--decoder-only", "--codec", str(shipped), "--seconds", "90", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    before, after = weights.load_codec(shipped), weights.load_codec(tmp_path / "codec.safetensors")
    assert weights.encoder_digest(after) == weights.encoder_digest(before)
    assert any(
        not torch.equal(a, b) for a, b in zip(after.decoder.parameters(), before.decoder.parameters(), strict=True)
    )
