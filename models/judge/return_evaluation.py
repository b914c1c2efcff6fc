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
from pathlib import Path

import cv2
import numpy as np
import torch

from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Prompt, Recall
from models.judge import meters
from models.judge.classifier import ATTRIBUTES, Judge
from models.pocket.world.scene import UNSAID, Scene, random_scene
from models.snapshots import Snapshot

HOME, BACK = 4, 4  # chunks of home, and after the return
READ = 2  # of the latter, the last ones that the judge reads
CHANCE = "away"  # how often the scene away agrees with home, which it knows nothing of


@dataclass(frozen=True)
class Journey:
    """Hold the scenes of a take that leaves and returns."""

    home: Scene
    away: Scene
    back: Scene  # the place, light and weather of `home`, with another subject


@dataclass
class Returned:
    """Hold what was read in one arm, a number for each take."""

    facts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in UNSAID})  # 1: as at home
    share: list[float] = field(default_factory=list)  # of the unsaid facts that are as at home
    adherence: list[float] = field(default_factory=list)  # to the prompt of the return
    pictures: list[meters.Frames] = field(default_factory=list)  # the last one of each take


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
    model: Model, judge: Judge, trips: Sequence[Journey], seeds: int, latents: int, say: Callable[[str], None]
) -> dict[str, Returned]:
    """Roll out `seeds` takes of every journey that stay away for `latents` latents; return the arms by name.

    They are cut, recall, ceiling, and CHANCE.
    """
    generator, grid = model.generator, model.entry.rollout.grid
    takes = [trip for trip in trips for _ in range(seeds)]
    home, away, back = (tuple(getattr(trip, at).caption() for trip in takes) for at in ("home", "away", "back"))
    empty = generator.snapshot(generator.new_take(tuple(range(len(takes))), *model.entry.size))
    left, seen = _drawn(model, judge, empty, [Prompt(home)], HOME, lambda n: say(f"at home: chunk {n} of {HOME}"))
    known = _facts(seen, HOME - 1)
    stay = grid.chunks(latents)
    far, elsewhere = _drawn(
        model, judge, left, [Cut(), Prompt(away)], stay, lambda n: say(f"away: chunk {n} of {stay}"), stay - READ
    )
    arms: dict[str, Returned] = {}
    ways: dict[str, tuple[Snapshot, list[Cue]]] = {
        "cut": (far, [Cut(), Prompt(back)]),
        "recall": (far, [Recall(left.index - 1), Prompt(back)]),
        "ceiling": (left, [Prompt(back)]),
    }
    for name, (begin, cues) in ways.items():
        _, seen = _drawn(model, judge, begin, cues, BACK, lambda n, name=name: say(f"{name}: chunk {n} of {BACK}"))  # type: ignore[misc]
        arms[name] = _returned(seen, known, BACK - READ)
        for trip, (reading, _) in zip(takes, seen, strict=True):
            shown = meters.adherence({n: p[BACK - READ :] for n, p in reading.items()}, [trip.back] * READ)
            arms[name].adherence.append(float(np.nanmean(shown)))
    arms[CHANCE] = _returned(elsewhere, known, 0)
    return arms


Seen = list[tuple[meters.Reading, meters.Frames]]  # of each take: what is read, chunk by chunk, and its last picture


def _drawn(
    model: Model,
    judge: Judge,
    begin: Snapshot,
    cues: list[Cue],
    chunks: int,
    say: Callable[[int], None],
    unread: int = 0,
) -> tuple[Snapshot, Seen]:
    """Draw `chunks` chunks of takes in step, and read all but the first `unread`; return where they then stand."""
    generator = model.generator
    state = generator.restore(begin)
    streams = [generator.new_stream() for _ in state.seeds]
    readings: list[list[meters.Reading]] = [[] for _ in streams]
    pictures: list[meters.Frames] = []
    for chunk in range(chunks):
        latents = generator.draw(state, cues if chunk == 0 else [])
        generator.commit(state)
        say(chunk + 1)
        if chunk >= unread:
            films = [s.decode(latents[i : i + 1]).numpy() for i, s in enumerate(streams)]
            pictures = [film[-1] for film in films]
            for taken, film in zip(readings, films, strict=True):
                taken.append(judge.probabilities(torch.from_numpy(meters.window(film))[None]))
    joined = [{name: torch.cat([r[name] for r in taken]) for name in ATTRIBUTES} for taken in readings]
    return generator.snapshot(state), list(zip(joined, pictures, strict=True))


def _facts(seen: Seen, first: int) -> list[dict[str, int]]:
    """Return the unsaid facts that are read of each take from chunk `first` on."""
    return [{name: int(reading[name][first:].mean(0).argmax()) for name in UNSAID} for reading, _ in seen]


def _returned(seen: Seen, known: list[dict[str, int]], first: int) -> Returned:
    found = Returned(pictures=[picture for _, picture in seen])
    for facts, home in zip(_facts(seen, first), known, strict=True):
        same = {name: float(facts[name] == home[name]) for name in UNSAID}
        for name, value in same.items():
            found.facts[name].append(value)
        found.share.append(float(np.mean(list(same.values()))))
    return found


def table(arms: Mapping[str, Returned], latents: int) -> str:
    """Format Markdown: for each arm the share of unsaid facts that are as at home, fact by fact, and adherence."""
    lines = [
        f"After {latents} latents away; shares of unsaid facts that are as at home, with 95 % intervals over takes.",
        "",
        "| arm | " + " | ".join(UNSAID) + " | all | adherence |",
        "|---" * (len(UNSAID) + 3) + "|",
    ]
    for name, arm in arms.items():
        cells = [f"{np.mean(arm.facts[fact]):.2f}" for fact in UNSAID]
        mean, low, high = meters.interval(arm.share)
        shown = f"{np.mean(arm.adherence):.2f}" if arm.adherence else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {mean:.2f} ({low:.2f}–{high:.2f}) | {shown} |")
    base = arms["cut"].share
    for name in ("recall", "ceiling"):
        mean, low, high = meters.interval(list(np.subtract(arms[name].share, base)))
        lines.append(f"\n{name} against cut: {mean:+.2f} ({low:+.2f}–{high:+.2f})")
    return "\n".join(lines) + "\n"


def save(folder: Path, arms: Mapping[str, Returned], latents: int, record: Mapping[str, str | int]) -> str:
    """Write return.md, return.json and a contact sheet return.png (a row for each arm); return the table."""
    text = table(arms, latents)
    (folder / "return.md").write_text(text, encoding="utf-8")
    read = {name: {"facts": a.facts, "share": a.share, "adherence": a.adherence} for name, a in arms.items()}
    results = {"record": dict(record), "latents": latents, "arms": read}
    (folder / "return.json").write_text(json.dumps(results), encoding="utf-8")
    rows = [np.concatenate([cv2.resize(p, (128, 128)) for p in arm.pictures[:12]], 1) for arm in arms.values()]
    cv2.imwrite(str(folder / "return.png"), np.concatenate(rows)[..., ::-1])
    return text
