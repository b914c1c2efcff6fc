"""`python -m models.judge.train_classifier --minutes N`: train the judge on the world, and say how well it reads.

Its accuracy on fresh clips of held-out combinations comes first, then the ceiling that the codec leaves: what it
still reads from reconstructions.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.checkpoints.assemble import load_tiny_codec
from models.codecs.tiny import TinyCodec
from models.judge.classifier import ATTRIBUTES, WINDOW, Judge, load, save, window_of
from models.pocket.world.renderer import FADE_FRAMES, Beat, draw_clip
from models.pocket.world.scene import Scene, changed_scene, random_scene

ASSETS = Path(__file__).resolve().parents[2] / "assets"
BATCH = 48


def sample(rng: random.Random, *, held_out: bool | None = None) -> tuple[np.ndarray, Scene]:
    """Twelve frames of a clip at any moment, a third of them after a change of scene, and what they show."""
    out = rng.random() < 0.2 if held_out is None else held_out
    scene, start = random_scene(rng, held_out=out), rng.randrange(60)
    beats = [Beat(0, scene)]
    if rng.random() < 0.33 and start > 12:
        before = changed_scene(scene, rng)
        beats = [Beat(0, before), Beat(rng.randrange(1, start - FADE_FRAMES + 2), scene)]
    return draw_clip(beats, WINDOW, start=start)[0], scene


def says(scene: Scene, attribute: str) -> bool:
    """Whether the attribute can be seen: a side is not, of what crosses the picture."""
    return scene.says(attribute) or attribute in ("layout", "landmark")


def labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Index of the value of every attribute, -1 where it cannot be seen."""
    return {
        name: torch.tensor([values.index(getattr(s, name)) if says(s, name) else -1 for s in scenes])
        for name, values in ATTRIBUTES.items()
    }


def _roughened(windows: Tensor, rng: random.Random) -> Tensor:
    """What a generator's picture may differ in from the world's: noise, softness, a change of brightness."""
    if rng.random() < 0.4:
        soft = F.avg_pool2d(F.pad(windows.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1)
        windows = soft.view_as(windows)
    gain = 1 + 0.08 * (torch.rand(len(windows), 1, 3, 1, 1) - 0.5)
    return windows * gain + rng.uniform(0, 0.08) * torch.randn_like(windows)


def train(minutes: float, start: Judge | None, seed: int = 0) -> tuple[Judge, int]:
    """A judge after `minutes` of training, and the number of steps."""
    torch.manual_seed(seed)
    rng, judge = random.Random(seed), start or Judge()
    judge.train()
    optim = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-4)
    began, step, said = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        optim.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 30) * max(0.01, min(1.0, (1 - done) / 0.5))
        drawn = [sample(rng) for _ in range(BATCH)]
        windows = _roughened(window_of(torch.from_numpy(np.stack([c for c, _ in drawn]))), rng)
        logits, wanted = judge(windows), labels([s for _, s in drawn])
        loss = torch.stack([F.cross_entropy(logits[n], wanted[n], ignore_index=-1) for n in ATTRIBUTES]).sum()
        optim.zero_grad()
        loss.backward()
        optim.step()
        step += 1
        if (minute := (time.monotonic() - began) / 60) - said >= 0.5:
            said = minute
            print(f"judge {minute:4.1f} min  step {step}  loss {loss.item():.3f}", flush=True)
    return judge.eval(), step


def accuracy(judge: Judge, clips: list[tuple[np.ndarray, Scene]]) -> dict[str, float]:
    """Share of windows read right, per attribute, where it can be seen."""
    probabilities = judge.probabilities(torch.from_numpy(np.stack([c for c, _ in clips])))
    wanted = labels([s for _, s in clips])
    return {n: float((probabilities[n].argmax(-1) == wanted[n])[wanted[n] >= 0].float().mean()) for n in ATTRIBUTES}


@torch.inference_mode()
def reconstructed(codec: TinyCodec, clips: list[tuple[np.ndarray, Scene]]) -> list[tuple[np.ndarray, Scene]]:
    """The same windows after the codec has encoded and decoded them."""
    out = []
    for clip, scene in clips:
        video = torch.from_numpy(clip).permute(0, 3, 1, 2)[None].float() / 255
        again, _ = codec.decode(codec.encode(torch.cat([video[:, :1].expand(-1, 4, -1, -1, -1), video], 1)))
        frames = again[0, 4:].clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
        out.append((frames.numpy(), scene))
    return out


def report(judge: Judge, codec: TinyCodec, clips: int = 400) -> dict[str, dict[str, float]]:
    """Accuracy on clips of trained-on and of held-out combinations, and on the codec's reconstructions of the latter."""
    rng = random.Random(12345)
    seen = [sample(rng, held_out=False) for _ in range(clips)]
    held = [sample(rng, held_out=True) for _ in range(clips)]
    both = seen[: clips // 2] + held[: clips // 2]
    return {
        "world": accuracy(judge, seen),
        "held-out pairs": accuracy(judge, held),
        "through the codec": accuracy(judge, reconstructed(codec, both)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget; 0 only reports")
    parser.add_argument("--out", type=Path, default=ASSETS / "judge" / "judge.safetensors")
    parser.add_argument("--from-scratch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    judge = load(args.out) if args.out.exists() and not args.from_scratch else None
    if args.minutes > 0 or judge is None:
        judge, steps = train(args.minutes, judge)
        save(judge, args.out, {"minutes": args.minutes, "steps": steps})
    for where, scores in report(judge, load_tiny_codec(ASSETS / "pocket" / "codec.safetensors")).items():
        print(f"{where:18}", "  ".join(f"{n} {s:.3f}" for n, s in scores.items()))


if __name__ == "__main__":
    main()
