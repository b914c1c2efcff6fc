"""Train the judge on the world and say how well it reads: `python -m models.judge.train_classifier --minutes N`.

Its accuracy on fresh clips of trained-on and of held-out combinations is the world's own reading: no generator can be
read better. What it still reads from a codec's reconstructions is the ceiling that the codec leaves.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.codecs.tiny import TinyCodec
from models.judge.classifier import ATTRIBUTES, SEEN, SIDE, WINDOW, Judge, load, save, small
from models.pocket.training.drawing_pool import DrawingPool
from models.pocket.world.renderer import FADE_FRAMES, Beat, draw_clip
from models.pocket.world.scene import UNSAID, Scene, changed_scene, random_scene

ASSETS = Path(__file__).resolve().parents[2] / "assets"
BATCH = 96
_DRAWN = 128  # pixels; a window is drawn larger than the judge looks at it
_RATE = 2e-3
_EVERY = 4  # steps between looks for new glimpses; a quarter of what these steps show is new at least
_ROOM = {"cpu": 3000, "cuda": 30_000}  # glimpses kept, 166 kB each

Sample = tuple[NDArray[np.uint8], Scene]
Glimpses = Callable[[int], tuple[Tensor, list[Scene]]]


def moment(rng: random.Random, *, held_out: bool | None = None) -> tuple[list[Beat], int]:
    """Choose a clip and the first frame of a window of it; in a third of them the scene has changed before it.

    One in five scenes has a held-out pair of colour and subject, unless `held_out` says which side to draw from.
    """
    out = rng.random() < 0.2 if held_out is None else held_out
    scene, start = random_scene(rng, held_out=out), rng.randrange(60)
    if rng.random() < 0.33 and start > 12:
        before = changed_scene(scene, rng)
        return [Beat(0, before), Beat(rng.randrange(1, start - FADE_FRAMES + 2), scene)], start
    return [Beat(0, scene)], start


def sample(rng: random.Random, *, held_out: bool | None = None, size: int = 256) -> Sample:
    """Draw a window [12, size, size, 3] uint8 and say which scene it shows."""
    beats, start = moment(rng, held_out=held_out)
    return draw_clip(beats, WINDOW, size, start)[0], beats[-1].scene


def glimpse(rng: random.Random) -> tuple[tuple[NDArray[np.uint8]], Scene]:
    """Draw only the frames of a window that the judge looks at, [6, 96, 96, 3] uint8."""
    beats, start = moment(rng)
    frames = [draw_clip(beats, 1, _DRAWN, start + f)[0][0] for f in SEEN]
    return (np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in frames]),), beats[-1].scene


def says(scene: Scene, attribute: str) -> bool:
    """Return whether the attribute can be seen: a side is not, of what crosses the picture."""
    return scene.says(attribute) or attribute in UNSAID


def labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Return the index of the value of every attribute, -1 where it cannot be seen."""
    return {
        name: torch.tensor([values.index(getattr(s, name)) if says(s, name) else -1 for s in scenes])
        for name, values in ATTRIBUTES.items()
    }


def _roughened(windows: Tensor) -> Tensor:
    """Add what a generator's picture may differ in from the world's: noise, softness, a change of brightness."""
    n, device = len(windows), windows.device
    flat = windows.flatten(0, 1)
    soft = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = (torch.rand(n, 1, 1, 1, 1, device=device) * 1.6 - 0.6).clamp(0, 1)
    windows = torch.lerp(windows, soft.view_as(windows), share)
    gain = 1 + 0.06 * (torch.rand(n, 1, 3, 1, 1, device=device) - 0.5)
    grain = torch.randn(4, *windows.shape[1:], device=device)[torch.randint(4, (n,), device=device)]
    return (windows * gain).addcmul_(grain, 0.05 * torch.rand(n, 1, 1, 1, 1, device=device))


class GlimpseBank:
    """Hold the newest glimpses on the training device: a batch is a random choice, since drawing is the slow part."""

    def __init__(self, room: int, device: torch.device) -> None:
        self._frames = torch.empty(room, len(SEEN), SIDE, SIDE, 3, dtype=torch.uint8, device=device)
        self._labels = torch.empty(room, len(ATTRIBUTES), dtype=torch.int64, device=device)
        self.added = 0

    def add(self, frames: Tensor, scenes: list[Scene]) -> None:
        """Take in glimpses [n, 6, 96, 96, 3] uint8 in place of the oldest."""
        room, device = len(self._frames), self._frames.device
        at = torch.arange(self.added, self.added + len(frames), device=device) % room
        self._frames[at] = frames.to(device)
        self._labels[at] = torch.stack(list(labels(scenes).values()), 1).to(device)
        self.added += len(frames)

    def batch(self, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Choose `count` glimpses [count, 6, 96, 96, 3] and their labels by attribute."""
        at = torch.randint(min(self.added, len(self._frames)), (count,), device=self._frames.device)
        return self._frames[at], dict(zip(ATTRIBUTES, self._labels[at].unbind(1), strict=True))


@contextmanager
def glimpses(seed: int, workers: int) -> Iterator[Glimpses]:
    """Give a function that returns new glimpses: at least as many as it is asked for.

    `workers` forked processes draw them without end, and must be forked before CUDA is used; with none the caller's
    process draws.
    """
    if workers == 0:
        rng = random.Random(seed)

        def here(least: int) -> tuple[Tensor, list[Scene]]:
            drawn = [glimpse(rng) for _ in range(least)]
            return torch.from_numpy(np.stack([g for (g,), _ in drawn])), [s for _, s in drawn]

        yield here
        return
    with DrawingPool(glimpse, workers, slots=8 * BATCH, seed=seed) as pool:

        def there(least: int) -> tuple[Tensor, list[Scene]]:
            filled = pool.take(least, 4 * BATCH)
            frames = pool.fields[0][filled.slots]
            pool.release(filled.slots)
            return frames, filled.facts

        yield there


def train(
    minutes: float, start: Judge | None, seed: int = 0, device: str = "cpu", workers: int = 0, path: Path | None = None
) -> tuple[Judge, int]:
    """Train a judge for `minutes`; return it, on that device, and the number of steps.

    Args:
        start: a judge to go on from; None begins anew.
        workers: processes that draw; 0 draws in this one.
        path: file that receives the weights every two minutes.
    """
    torch.manual_seed(seed)
    with glimpses(seed, workers) as new:
        bank = GlimpseBank(_ROOM[device], torch.device(device))
        judge = (start or Judge()).to(device).train()
        optim = torch.optim.AdamW(judge.parameters(), lr=_RATE, weight_decay=1e-4)
        bank.add(*new(BATCH))
        began, step, said, kept = time.monotonic(), 0, 0.0, 0.0
        while (done := (time.monotonic() - began) / 60 / minutes) < 1:
            optim.param_groups[0]["lr"] = _RATE * min(1.0, (step + 1) / 50) * max(0.01, min(1.0, (1 - done) / 0.6))
            if step % _EVERY == 0:
                bank.add(*new(_EVERY * BATCH // 4))
            frames, wanted = bank.batch(BATCH)
            with torch.autocast(device, torch.bfloat16):
                logits = judge(_roughened(small(frames)))
            # sums, since a batch of walkers alone shows no side and its mean would be nan
            losses = [F.cross_entropy(logits[n].float(), wanted[n], ignore_index=-1, reduction="sum") for n in wanted]
            loss = torch.stack(losses).sum() / BATCH
            optim.zero_grad()
            loss.backward()
            optim.step()
            step += 1
            minute = (time.monotonic() - began) / 60
            if minute - said >= 0.1:
                said = minute
                print(f"judge {minute:5.2f} min  step {step}  loss {loss.item():.3f}  {bank.added} drawn", flush=True)
            if path is not None and minute - kept >= 2:
                kept = minute
                save(judge, path, {"minutes": round(minute, 2), "steps": step})
    return judge.eval(), step


def accuracy(judge: Judge, clips: list[Sample]) -> dict[str, float]:
    """Return the share of windows [12, H, W, 3] read right, per attribute, where it can be seen."""
    probabilities = judge.probabilities(torch.from_numpy(np.stack([c for c, _ in clips])))
    wanted = labels([s for _, s in clips])
    return {n: float((probabilities[n].argmax(-1) == wanted[n])[wanted[n] >= 0].float().mean()) for n in ATTRIBUTES}


@torch.inference_mode()
def reconstructed(codec: TinyCodec, clips: list[Sample]) -> list[Sample]:
    """Return the same windows after the codec has encoded and decoded them."""
    out = []
    for clip, scene in clips:
        video = torch.from_numpy(clip).permute(0, 3, 1, 2)[None].float() / 255
        again, _ = codec.decode(codec.encode(torch.cat([video[:, :1].expand(-1, 4, -1, -1, -1), video], 1)))
        frames = again[0, 4:].clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
        out.append((frames.numpy(), scene))
    return out


def world(clips: int, workers: int = 0) -> dict[str, list[Sample]]:
    """Draw windows at 256 pixels, `clips` of trained-on combinations and as many of held-out pairs."""

    def window(rng: random.Random, *, out: bool) -> tuple[tuple[NDArray[np.uint8]], Scene]:
        clip, scene = sample(rng, held_out=out)
        return (clip,), scene

    drawn: dict[str, list[Sample]] = {}
    for name, out in (("world", False), ("held-out pairs", True)):
        if workers == 0:
            rng = random.Random(12345)
            drawn[name] = [sample(rng, held_out=out) for _ in range(clips)]
            continue
        with DrawingPool(partial(window, out=out), workers, slots=clips, seed=12345) as pool:
            filled = pool.take(clips, clips)
            frames = pool.fields[0].numpy()
            drawn[name] = [(frames[slot], s) for slot, s in zip(filled.slots.tolist(), filled.facts, strict=True)]
    return drawn


def report(judge: Judge, codec: TinyCodec, clips: int = 400) -> dict[str, dict[str, float]]:
    """Return the world's own reading, and the accuracy on the codec's reconstructions, half of held-out pairs."""
    drawn = world(clips)
    both = [s for samples in drawn.values() for s in samples[: clips // 2]]
    scores = {name: accuracy(judge, samples) for name, samples in drawn.items()}
    return {**scores, "through the codec": accuracy(judge, reconstructed(codec, both))}


def main() -> None:
    """Train, save and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget; 0 only reports")
    parser.add_argument("--out", type=Path, default=ASSETS / "judge", help="folder of judge.safetensors")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, help="drawing processes; 0 on a CPU, all cores but one beside CUDA")
    parser.add_argument("--clips", type=int, default=240, help="windows of each kind that the report reads")
    parser.add_argument("--from-scratch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    cv2.setNumThreads(1)
    path = args.out / "judge.safetensors"
    args.out.mkdir(parents=True, exist_ok=True)
    judge = load(path) if path.exists() and not args.from_scratch else None
    workers = args.workers if args.workers is not None else 0 if args.device == "cpu" else (os.cpu_count() or 2) - 1
    drawn = world(args.clips, workers)
    if args.minutes > 0 or judge is None:
        judge, steps = train(args.minutes, judge, device=args.device, workers=workers, path=path)
        save(judge, path, {"minutes": args.minutes, "steps": steps, "device": args.device})
        print(f"{steps} steps", flush=True)
    for name, samples in drawn.items():
        scores = accuracy(judge, samples)
        print(f"{name:15}", "  ".join(f"{n} {s:.3f}" for n, s in scores.items()), flush=True)


if __name__ == "__main__":
    main()
