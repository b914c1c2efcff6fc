"""Measure what comes back when a take returns to an earlier scene, in facts that no prompt says.

A take shows a scene, its home, cuts to a scene somewhere else and stays there; then the prompt names the place, light
and weather of home again, with another subject. The judge reads the unsaid facts (`UNSAID`) of home before it was left,
and again in the last chunks after the return. The arms share everything up to the return; the ceiling never left.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Prompt, Recall
from models.judge import meters
from models.judge.classifier import ATTRIBUTES, Judge
from models.judge.kept_results import Facts, KeptResults, Pictures
from models.pocket.world.scene import UNSAID, Scene, random_scene
from models.snapshots import Snapshot

HOME, BACK = 4, 4  # chunks of home, and after the return
READ = 2  # of the latter, the last ones that the judge reads
CHANCE = "away"  # how often the scene away agrees with home, which it knows nothing of
ARMS = ("cut", "recall", "ceiling", CHANCE)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Journey:
    """Hold the scenes of a take that leaves and returns."""

    home: Scene
    away: Scene
    back: Scene  # the place, light and weather of `home`, with another subject


@dataclass
class Returned:
    """Hold what was read in one arm, prompt by prompt and there take by take."""

    facts: dict[str, list[list[float]]] = field(default_factory=lambda: {name: [] for name in UNSAID})  # 1: as at home
    adherence: list[list[float]] = field(default_factory=list)  # to the prompt of the return; nan where none was given
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)  # the last one of each prompt's first take

    def share(self) -> list[float]:
        """Return for each prompt the share of its takes' unsaid facts that are as at home."""
        return [float(np.mean(takes)) for takes in zip(*self.facts.values(), strict=True)]


def journeys(count: int, seed: int = 11) -> list[Journey]:
    """Draw scenes; away is another place, and the subject that comes back is another one."""
    rng, found = random.Random(seed), list[Journey]()
    while len(found) < count:
        home, away, other = (random_scene(rng, held_out=True) for _ in range(3))
        if home.place != away.place and other.subject != home.subject:
            kept = {name: getattr(home, name) for name in ("place", "light", "weather")}
            found.append(Journey(home, away, replace(other, **kept)))
    return found


def measure(
    model: Model, judge: Judge, trips: Sequence[Journey], seeds: int, latents: int, kept: KeptResults, say: Progress
) -> dict[str, Returned]:
    """Roll out `seeds` takes of every journey that stay away for `latents` latents; return the arms by name.

    They are cut, recall, ceiling, and CHANCE. Takes that `kept` holds are not rolled out again. Every journey has its
    first take before any has its second, so that an interrupted measurement has seen them all alike.
    """
    found: dict[str, Returned] = {}
    for noise in range(seeds):
        for number, trip in enumerate(trips):
            title = f"prompt {number + 1} of {len(trips)}, take {noise + 1} of {seeds}"
            roll_out = partial(_take, model, judge, trip, number + 1000 * noise, latents, title, say)
            numbers, pictures = kept.measured(f"{number:04d}-{noise:03d}", roll_out)
            for arm, read in numbers.items():
                returned = found.setdefault(arm, Returned())
                if noise == 0:
                    returned.pictures.append(pictures[arm])
                for rows in (*returned.facts.values(), returned.adherence):
                    rows.extend([[]] if noise == 0 else [])
                for fact in UNSAID:
                    returned.facts[fact][number].append(read[fact])
                returned.adherence[number].append(read.get("adherence", float("nan")))
    return found


def _take(
    model: Model, judge: Judge, trip: Journey, seed: int, latents: int, title: str, say: Progress
) -> tuple[dict[str, Facts], Pictures]:
    """Roll out one take in every arm; return what is as at home, and the last pictures."""
    generator, stay = model.generator, model.entry.rollout.grid.chunks(latents)
    home, away, back = (Prompt((scene.caption(),)) for scene in (trip.home, trip.away, trip.back))
    empty = generator.snapshot(generator.new_take((seed,), *model.entry.size))
    say(f"{title}: at home")
    left, at_home, _ = _drawn(model, judge, empty, [home], HOME, HOME - 1)
    known = _facts(at_home)
    say(f"{title}: away")
    far, elsewhere, picture = _drawn(model, judge, left, [Cut(), away], stay, stay - READ)
    same, pictures = {CHANCE: _same(elsewhere, known)}, {CHANCE: picture}
    ways: dict[str, tuple[Snapshot, list[Cue]]] = {
        "cut": (far, [Cut(), back]),
        "recall": (far, [Recall(left.index - 1), back]),
        "ceiling": (left, [back]),
    }
    for name, (begin, cues) in ways.items():
        say(f"{title}: {name}")
        _, reading, pictures[name] = _drawn(model, judge, begin, cues, BACK, BACK - READ)
        shown = meters.adherence(reading, [trip.back] * READ)
        same[name] = _same(reading, known) | {"adherence": float(np.nanmean(shown))}
    return {name: same[name] for name in ARMS}, {name: pictures[name] for name in ARMS}


def _drawn(
    model: Model, judge: Judge, begin: Snapshot, cues: list[Cue], chunks: int, unread: int
) -> tuple[Snapshot, meters.Reading, NDArray[np.uint8]]:
    """Draw `chunks` chunks; return where the take then stands, all but `unread` chunks as read, the last picture."""
    generator = model.generator
    state, stream = generator.restore(begin), generator.new_stream()
    readings: list[meters.Reading] = []
    for chunk in range(chunks):
        latents = generator.draw(state, cues if chunk == 0 else [])
        generator.commit(state)
        if chunk >= unread:
            film = stream.decode(latents).numpy()
            readings.append(judge.probabilities(torch.from_numpy(meters.window(film))[None]))
    joined = {name: torch.cat([r[name] for r in readings]) for name in ATTRIBUTES}
    return generator.snapshot(state), joined, film[-1]


def _facts(reading: meters.Reading) -> dict[str, int]:
    """Return the unsaid facts of a take as its chunks together are read."""
    return {name: int(reading[name].mean(0).argmax()) for name in UNSAID}


def _same(reading: meters.Reading, known: dict[str, int]) -> Facts:
    """Return for each unsaid fact 1 if it is as known, else 0."""
    return {name: float(value == known[name]) for name, value in _facts(reading).items()}


def table(arms: Mapping[str, Returned], latents: int) -> str:
    """Format Markdown: for each arm the share of unsaid facts that are as at home, fact by fact, and adherence."""
    takes = arms["cut"].adherence
    lines = [
        f"After {latents} latents away, {len(takes)} prompts, {sum(map(len, takes))} takes; shares of unsaid facts "
        "that are as at home, with 95 % intervals over prompts.",
        "",
        "| arm | " + " | ".join(UNSAID) + " | all | adherence |",
        "|---" * (len(UNSAID) + 3) + "|",
    ]
    for name, arm in arms.items():
        cells = [_interval([float(np.mean(takes)) for takes in arm.facts[fact]]) for fact in UNSAID]
        shown = "–" if np.isnan(arm.adherence).all() else f"{np.nanmean(np.concatenate(arm.adherence)):.2f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {_interval(arm.share())} | {shown} |")
    for name in ("recall", "ceiling"):
        mean, low, high = meters.interval(list(np.subtract(arms[name].share(), arms["cut"].share())))
        lines.append(f"\n{name} against cut: {mean:+.2f} ({low:+.2f}–{high:+.2f})")
    return "\n".join(lines) + "\n"


def _interval(by_prompt: list[float]) -> str:
    return "{:.2f} ({:.2f}–{:.2f})".format(*meters.interval(by_prompt))


def save(folder: Path, arms: Mapping[str, Returned], latents: int, record: Mapping[str, str | int]) -> str:
    """Write return.md, return.json and a contact sheet return.png (a row for each arm); return the table."""
    text = table(arms, latents)
    (folder / "return.md").write_text(text, encoding="utf-8")
    read = {name: {"facts": a.facts, "adherence": a.adherence} for name, a in arms.items()}
    results = {"record": dict(record), "latents": latents, "arms": read}
    (folder / "return.json").write_text(json.dumps(results), encoding="utf-8")
    rows = [np.concatenate(arm.pictures[:12], 1) for arm in arms.values()]
    cv2.imwrite(str(folder / "return.png"), np.concatenate(rows)[..., ::-1])
    return text
