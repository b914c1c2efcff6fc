"""Measure pocket-avatar: seams, likeness and lip sync, for every way of rolling out.

The arms share faces, sound and noise. Films are measured before any video encoder, in the box of the face; the network
that reads mouth and likeness was trained on the portrait world alone.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.cache_shape import ReferenceRule
from models.catalog import AVATAR_PROMPT
from models.checkpoints.assemble import Model
from models.cue import Cue, Prompt
from models.driving_signal import FPS, RATE, DrivingSignal
from models.judge import drift, meters, seams
from models.judge import lip_sync as sync
from models.judge.face_reader import FaceReader
from models.pocket.world.portrait.face import Face, random_face
from models.pocket.world.portrait.gallery import drawn
from models.pocket.world.portrait.tts import monologue
from models.rollout_config import RolloutConfig
from models.time_grid import TimeGrid, frames_before

FACE = (0.2, 0.15, 0.8, 0.85)  # where faces of the portrait world are
MEASURES = (
    "seam ratio", "hand-over", "beyond codec", "null", "jerk ratio", "knot energy", "likeness", "likeness / min", "ΔE",
    "sharpness / min", "motion", "sync", "lag ms", "silence", "disagreement", "fps together",
)  # fmt: skip
Frames = NDArray[np.uint8]
Sound = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass
class Arm:
    """Hold one way of rolling out, with the measurements of every film."""

    name: str
    config: RolloutConfig
    films: list[dict[str, float]] = field(default_factory=list)

    def by_face(self, measure: str) -> list[float]:
        """Return the mean over each face's films: films of one face are no independent draws."""
        values: dict[float, list[float]] = {}
        for film in self.films:
            values.setdefault(film["face"], []).append(film[measure])
        return [float(np.mean(v)) for v in values.values()]


def arms(config: RolloutConfig) -> list[Arm]:
    """Return four seams, then four places of the reference; the shipped way is `knot 1`."""
    seams_ = {
        "hard cut": replace(config, knot=0),
        "pinned, not fused": replace(config, knot=1, fusion=(1.0,)),
        "knot 1": replace(config, knot=1, fusion=None),
        "knot 2": replace(config, knot=2, fusion=None),
    }
    rules = {
        "reference fixed": ReferenceRule("fixed"),
        "gap 1": ReferenceRule("gap", gap=1),
        "gap 4": ReferenceRule("gap", gap=4),
        "start 8, stride 4": ReferenceRule("stride", start=8, stride=4),
    }
    ways = seams_ | {name: replace(config, knot=1, fusion=None, reference=rule) for name, rule in rules.items()}
    return [Arm(name, way) for name, way in ways.items()]


def cast(count: int) -> list[tuple[Face, int]]:
    """Draw faces whose attributes were never trained on together, each with the seed of its voice."""
    rng = random.Random(2025)
    return [(random_face(rng, held_out=True), 500 + i) for i in range(count)]


def films(
    model: Model, config: RolloutConfig, faces: Sequence[Face], sounds: Sequence[Sound], seeds: tuple[int, ...]
) -> tuple[list[Frames], list[float], float]:
    """Let every face speak its sound, all in step; every film is as long as the longest sound.

    Returns the films (uint8 [frames, H, W, 3]), the mean disagreement of each one's knots (NaN without knots), and the
    frames a second of all of them together. A film has the frames that it would have by itself, up to a grey level.
    """
    generator = model.generator.with_config(config)
    state = generator.new_take(seeds, *model.entry.size)
    streams = [generator.new_stream() for _ in faces]
    signals, apart = [DrivingSignal() for _ in faces], list[Tensor]()
    frames: list[list[Frames]] = [[] for _ in faces]
    for signal, sound in zip(signals, sounds, strict=True):
        signal.hear(sound)
    length = max(map(len, sounds)) * FPS / RATE
    portraits = [drawn(face) for face in faces]
    together = replace(portraits[0], pixels=b"".join(p.pixels for p in portraits))
    began = time.perf_counter()
    while frames_before(state.index) < length:
        cues: list[Cue] = [] if state.index else [Prompt(AVATAR_PROMPT), together]
        heard = torch.from_numpy(
            np.stack([s.latents(state.index, config.latents_drawn(state.index)) for s in signals])
        ).to(generator.device)
        chunk = generator.draw(state, cues, heard)
        for film, stream, x in zip(frames, streams, chunk.split(1), strict=True):
            film.append(stream.decode(x).numpy())
        generator.commit(state)
        if state.disagreement is not None and state.index > config.grid.first_chunk:  # the first began as the portrait
            apart.append(state.disagreement)
    made = [np.concatenate(film) for film in frames]
    took = time.perf_counter() - began
    disagreed = torch.stack(apart).mean(0).tolist() if apart else [math.nan] * len(faces)
    return made, disagreed, sum(map(len, made)) / took


def measured(frames: Frames, sound: Sound, face: Face, reader: FaceReader, grid: TimeGrid) -> dict[str, float]:
    """Measure one film (uint8 [frames, H, W, 3]) and the sound that drove it from its first frame on."""
    reference = drawn(face)
    portrait = np.frombuffer(bytearray(reference.pixels), np.uint8).reshape(1, reference.height, reference.width, 3)
    change, period = seams.changes(frames, FACE), grid.frames
    border = frames_before(grid.start(1)) % period
    seam = seams.seam_ratio(change, period)
    likeness = drift.identity(drift.likeness(frames, portrait, reader.identity))
    mouth = reader.pose(frames)["mouth"]
    agreed = sync.sync(mouth, sound)
    return {
        "seam ratio": seam.ratio,
        "hand-over": float(seam.profile[border]),
        "beyond codec": seam.excess(border),
        "null": seam.null,
        "jerk ratio": seams.seam_ratio(seams.jerks(frames, FACE), period).ratio,
        "knot energy": seams.knot_energy(change, grid).ratio,
        "likeness": likeness.mean,
        "likeness / min": likeness.trend.slope,
        "ΔE": drift.colour_drift(drift.lab(frames[:: FPS // 5], FACE), 5).delta_e,
        "sharpness / min": drift.sharpness_drift(frames[:: FPS // 5], 5).slope,
        "motion": float(np.nanmean(change)),
        "sync": agreed.correlation,
        "lag ms": agreed.lag_ms,
        "silence": sync.silence_ratio(mouth, sound),
    }


def run(model: Model, reader: FaceReader, arm: Arm, faces: int, seconds: float, seeds: int, say: Say) -> None:
    """Let every face speak for `seconds` seconds with `seeds` seeds of its own, and add the measurements to the arm.

    The frames a second are those of all faces together.
    """
    actors = cast(faces)
    sounds = [monologue(seconds, random.Random(voice)) for _, voice in actors]
    for seed in range(seeds):
        say(f"{arm.name}: {faces} faces speak, seed {seed + 1} of {seeds}")
        own = tuple(seed * faces + i for i in range(faces))
        made, apart, fps = films(model, arm.config, [face for face, _ in actors], sounds, own)
        for (face, voice), sound, frames, disagreement in zip(actors, sounds, made, apart, strict=True):
            found = measured(frames, sound, face, reader, arm.config.grid)
            arm.films.append(found | {"face": voice, "disagreement": disagreement, "fps together": fps})


def table(arms_: list[Arm], base: str) -> str:
    """Format Markdown: the mean over faces, its 95 % interval, and the paired difference from the arm called `base`."""
    lines = ["| measure | " + " | ".join(a.name for a in arms_) + " |", "|---" * (len(arms_) + 1) + "|"]
    reference = next((a for a in arms_ if a.name == base), arms_[0])
    for measure in MEASURES:
        cells = []
        for arm in arms_:
            values = arm.by_face(measure)
            mean, low, high = meters.interval(values)
            cell = f"{mean:.3g} ({low:.3g} – {high:.3g})"
            if arm is not reference and measure != "fps together":
                d, dl, dh = meters.interval(list(np.subtract(values, reference.by_face(measure))))
                cell += f" Δ {d:+.2g} ({dl:+.2g} – {dh:+.2g})"
            cells.append(cell)
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def save(folder: Path, arms_: list[Arm], record: Mapping[str, str | int]) -> str:
    """Write avatar.md and avatar.json; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = table(arms_, "knot 1")
    (folder / "avatar.md").write_text(text, encoding="utf-8")
    results = {"record": dict(record), "arms": {a.name: a.films for a in arms_}}
    (folder / "avatar.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return text


def sheet(model: Model, path: Path, faces: int = 6, seconds: float = 6) -> None:
    """Write a contact sheet: each row a face, first as it was given, then as it speaks."""
    actors = cast(faces)
    sounds = [monologue(seconds, random.Random(voice)) for _, voice in actors]
    made, _, _ = films(model, model.entry.rollout, [face for face, _ in actors], sounds, tuple(range(faces)))
    rows = []
    for (face, _), frames in zip(actors, made, strict=True):
        reference = drawn(face)
        given = np.frombuffer(reference.pixels, np.uint8).reshape(reference.height, reference.width, 3)
        at = np.linspace(FPS, len(frames) - 1, 9).round().astype(int)
        rows.append(np.concatenate([given, *frames[at]], 1))
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])
