"""Train the face reader on the portrait world: `python -m models.judge.train_face_reader --minutes N`.

A run goes on from the weights that exist. The readings are regressed; the embedding learns to find a face's other
picture among those of the batch (InfoNCE, arXiv 1807.03748) with other clothes on another background, and to name the
face's attributes from a linear layer that is dropped afterwards. The run ends with the reader's scores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from models.judge.face_reader import EMBEDDING, IDENTITY, READ, FaceReader, load, picture_of, save
from models.pocket.training.muon import Muon
from models.pocket.world.portrait.face import ATTRIBUTES, Face, Pose, random_face
from models.pocket.world.portrait.renderer import draw_portrait

ASSETS = Path(__file__).resolve().parents[2] / "assets"
FACES, NEW = 32, 8  # faces of a batch, two pictures each, and how many of them are drawn for it
KEPT = 1500  # faces drawn before that the others are taken from: drawing costs as much as learning
TEMPERATURE = 0.1
LR = (0.02, 3e-3)  # of Muon for the matrices, of AdamW for the rest


def random_pose(rng: random.Random) -> Pose:
    """Return a pose whose parts are drawn independently, so that no reading can be inferred from another."""
    values = {name: rng.uniform(-1, 1) for name in Pose._fields}
    values |= {name: rng.random() for name in ("width", "smile")}
    values["mouth"] = rng.choice((0.0, rng.random(), rng.random() ** 2))
    values["blink"] = rng.choice((0.0, 0.0, rng.random(), 1.0))
    return Pose(**values)


def dressed(face: Face, rng: random.Random) -> Face:
    """Return the same person in other clothes on another background."""
    changed = {name: rng.choice(ATTRIBUTES[name]) for name in ATTRIBUTES if name not in IDENTITY}
    return replace(face, **changed)


def pictures(faces: list[Face], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Draw each face in a random pose: frames [n, 128, 128, 3] uint8 and their true readings [n, 6]."""
    poses = [random_pose(rng) for _ in faces]
    frames = [draw_portrait(f, np.array([p], np.float32)) for f, p in zip(faces, poses, strict=True)]
    wanted = torch.tensor([[getattr(p, name) for name in READ] for p in poses])
    return torch.from_numpy(np.concatenate(frames)), wanted


@dataclass(frozen=True)
class Pair:
    """Hold a face and two pictures of it, the second with other clothes: [2, 128, 128, 3] uint8, readings [2, 6]."""

    face: Face
    frames: Tensor
    wanted: Tensor


def draw_pair(rng: random.Random) -> Pair:
    face = random_face(rng)
    return Pair(face, *pictures([face, dressed(face, rng)], rng))


def weighed(wanted: Tensor) -> Tensor:
    """Return the loss weight of every reading [n, 6]: the mouth's is highest, gaze behind closed lids has none."""
    weight = torch.ones_like(wanted)
    weight[:, READ.index("mouth")] = 4
    for name in ("gaze_x", "gaze_y"):
        weight[:, READ.index(name)] = (1 - wanted[:, READ.index("blink")]) ** 2
    return weight


def _roughened(seen: Tensor, rng: random.Random) -> Tensor:
    """Imitate a generator's defects on a batch: softness, displacement, brightness, noise."""
    if (soft := rng.random()) < 0.5:
        reach = 1 if soft < 0.3 else 2
        seen = F.avg_pool2d(seen, 2 * reach + 1, 1, padding=reach, count_include_pad=False)
    seen = seen.roll((rng.randint(-3, 3), rng.randint(-3, 3)), (2, 3))
    gain = 1 + 0.08 * (torch.rand(len(seen), 3, 1, 1) - 0.5)
    return seen * gain + rng.uniform(0, 0.2) * (torch.rand_like(seen) - 0.5)


def train(minutes: float, start: FaceReader | None, seed: int = 0) -> tuple[FaceReader, int]:
    """Train for `minutes`; return the reader and the number of steps."""
    torch.manual_seed(seed)
    rng, reader = random.Random(seed), start or FaceReader()
    reader.train()
    naming = nn.ModuleDict({name: nn.Linear(EMBEDDING, len(ATTRIBUTES[name])) for name in IDENTITY})
    matrices = [p for p in reader.parameters() if p.ndim > 1]
    rest = [*(p for p in reader.parameters() if p.ndim == 1), *naming.parameters()]
    optims = Muon(matrices, lr=LR[0]), torch.optim.AdamW(rest, lr=LR[1])
    drawn: deque[Pair] = deque(maxlen=KEPT)
    began, step, said = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for optim, lr in zip(optims, LR, strict=True):
            optim.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 20) * max(0.01, min(1.0, (1 - done) / 0.6))
        new = [draw_pair(rng) for _ in range(NEW if drawn else FACES)]
        batch = [*new, *rng.sample(drawn, FACES - len(new))]
        drawn.extend(new)
        frames = torch.cat([torch.stack([p.frames[side] for p in batch]) for side in (0, 1)])
        wanted = torch.cat([torch.stack([p.wanted[side] for p in batch]) for side in (0, 1)])
        who, what = reader(_roughened(picture_of(frames), rng))
        reading = (weighed(wanted) * (what - wanted) ** 2).mean()
        alike = who @ who.T / TEMPERATURE - 1e9 * torch.eye(len(who))
        other = torch.arange(len(who)).roll(FACES)  # where a face's other picture is
        finding = F.cross_entropy(alike, other)
        named = [
            F.cross_entropy(
                naming[n](8 * who), torch.tensor([ATTRIBUTES[n].index(getattr(p.face, n)) for p in batch * 2])
            )
            for n in IDENTITY
        ]
        loss = 4 * reading + 0.3 * finding + 0.15 * torch.stack(named).sum()
        loss.backward()
        for optim in optims:
            optim.step()
            optim.zero_grad()
        step += 1
        if (minute := (time.monotonic() - began) / 60) - said >= 0.5:
            said = minute
            print(f"face {minute:4.1f} min  step {step}  reading {reading:.4f}  finding {finding:.3f}", flush=True)
    return reader.eval(), step


def one_off(face: Face, rng: random.Random) -> Face:
    """Return a person who differs in a single attribute of the face."""
    name = rng.choice(IDENTITY)
    return replace(face, **{name: rng.choice([v for v in ATTRIBUTES[name] if v != getattr(face, name)])})


def likeness(reader: FaceReader, pairs: list[tuple[Face, Face]], rng: random.Random) -> NDArray[np.float32]:
    """Return the scalar product of the embeddings of every pair, each face in a random pose, [pairs]."""
    first, second = (reader.identity(pictures(list(side), rng)[0].numpy()) for side in zip(*pairs, strict=True))
    return (first * second).sum(1)


def verification(reader: FaceReader, pairs: int, seed: int, *, held_out: bool) -> dict[str, float]:
    """Measure how well two pictures of one person (with other clothes) are told from pictures of two.

    `strangers` and `one-off`: share of pairs judged right, half of them the same person, at the threshold that is best
    on faces of the training side; `area`: probability that a same pair is more alike than a one-off pair.
    """

    def measured(rng: random.Random, *, out: bool) -> list[NDArray[np.float32]]:
        faces = [random_face(rng, held_out=out) for _ in range(pairs)]
        others = [random_face(rng, held_out=out) for _ in range(pairs)]
        return [
            likeness(reader, [(f, dressed(f, rng)) for f in faces], rng),
            likeness(reader, list(zip(faces, others, strict=True)), rng),
            likeness(reader, [(f, dressed(one_off(f, rng), rng)) for f in faces], rng),
        ]

    same, strange, near = measured(random.Random(seed + 1), out=False)
    levels = np.linspace(0, 1, 201)[:, None]
    best = [float(levels[((same > levels).mean(1) + (d <= levels).mean(1)).argmax()][0]) for d in (strange, near)]
    same, strange, near = measured(random.Random(seed), out=held_out)
    return {
        "strangers": float(((same > best[0]).mean() + (strange <= best[0]).mean()) / 2),
        "one-off": float(((same > best[1]).mean() + (near <= best[1]).mean()) / 2),
        "area": float((same[:, None] > near[None]).mean()),
    }


def reading(reader: FaceReader, count: int, seed: int, *, held_out: bool) -> dict[str, tuple[float, float]]:
    """Return correlation and mean error of every reading on fresh faces; gaze where the eyes are open."""
    rng = random.Random(seed)
    frames, wanted = pictures([random_face(rng, held_out=held_out) for _ in range(count)], rng)
    got, open_eyes = reader.pose(frames.numpy()), wanted[:, READ.index("blink")].numpy() < 0.5
    scores = {}
    for name, truth in zip(READ, wanted.numpy().T, strict=True):
        seen = open_eyes if name.startswith("gaze") else np.ones(count, bool)
        error = float(np.abs(got[name] - truth)[seen].mean())
        scores[name] = (float(np.corrcoef(got[name][seen], truth[seen])[0, 1]), error)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget; 0 only reports")
    parser.add_argument("--out", type=Path, default=ASSETS / "judge" / "face.safetensors")
    parser.add_argument("--from-scratch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    reader, facts = None, {"minutes": 0.0, "steps": 0}
    if args.out.exists() and not args.from_scratch:
        reader = load(args.out)
        with safe_open(args.out, "pt") as f:
            facts = json.loads(f.metadata()["training"])
    if args.minutes > 0 or reader is None:
        reader, steps = train(args.minutes, reader, seed=int(facts["steps"]))
        save(reader, args.out, {"minutes": facts["minutes"] + args.minutes, "steps": int(facts["steps"]) + steps})
    for held_out, where in ((False, "training side"), (True, "held-out faces")):
        for name, (correlation, error) in reading(reader, 400, 12345, held_out=held_out).items():
            print(f"{where:15} {name:7} correlation {correlation:.3f}  mean error {error:.3f}")
        scores = verification(reader, 300, 54321, held_out=held_out)
        print(f"{where:15} same person?", "  ".join(f"{n} {s:.3f}" for n, s in scores.items()))


if __name__ == "__main__":
    main()
