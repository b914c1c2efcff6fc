"""Measure with the judge how well pocket shows what its prompts say, and what each claim of the papers is worth.

The arms of an ablation share prompts, seeds and therefore noise; intervals are bootstrapped over prompts. The takes of
an arm run in step, as one batch of the generator; each gives the latents that it would give by itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from models.cache_shape import AnchorPolicy
from models.checkpoints.assemble import Model
from models.cue import OnSwitch, Prompt, SinkOnSwitch
from models.judge import meters
from models.judge.classifier import ATTRIBUTES, SCENE_ATTRIBUTES, SUBJECT_ATTRIBUTES, Judge
from models.pocket.world.scene import WORDING, Scene, changed_scene, random_scene
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.time_grid import latents_showing

SHEET = (  # of a contact sheet; chosen before any weights were trained, the first three never seen in training
    "a large red fish sways over the sea",
    "a small yellow rocket drifts right in the city at night",
    "a green cube bounces in the forest",
    "a large blue ball circles over the meadow at sunset",
    "a purple star sways on the left in the desert",
    "a white rocket flies left over the sea in fog",
    "a small red ball hops on the right in the forest in the snow",
    "a yellow fish circles in the city at sunset in the rain",
)
CHUNKS, SWITCH = 8, 4  # of a short take, and where its prompt changes
MEASURES = ("scene", "subject", "after switch", "switch chunks", "continuity", "diversity")
Progress = Callable[[str], None]


def prompts(count: int, seed: int = 2024) -> list[tuple[Scene, Scene]]:
    """Draw pairs of scenes before and after a switch; colour and subject were never trained on together."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        before = random_scene(rng, held_out=True)
        pairs.append((before, changed_scene(before, rng, held_out=True)))
    return pairs


@dataclass
class Arm:
    """Hold one way of rolling out, with its measurements: for every measure one number a prompt."""

    name: str
    model: Model
    config: RolloutConfig
    by_prompt: dict[str, list[float]] = field(default_factory=lambda: {m: [] for m in MEASURES})
    attributes: dict[str, list[float]] = field(default_factory=dict)
    switches: list[float] = field(default_factory=list)  # chunks until shown, every take


def arms(model: Model) -> list[Arm]:
    """Return the ways of rolling out that are compared: the default, then each change that the model allows."""
    config = model.entry.rollout
    other = config.first_schedule or Schedule(config.schedule.sigmas[:2])
    half = config.sink + (config.window - config.sink) // 2 // config.chunk * config.chunk
    window = max(half, config.sink + config.chunk, config.grid.first_chunk)
    others: dict[str, dict[str, Any]] = {
        "no sink": {"sink": 0},
        "on_switch none": {"on_switch": OnSwitch.NONE},
        "on_switch clear": {"on_switch": OnSwitch.CLEAR},
        "on_switch flush": {"on_switch": OnSwitch.FLUSH},
        "sink reanchor": {"sink_on_switch": SinkOnSwitch.REANCHOR},
        f"window {window}": {"window": window},
        "anchor fixed": {"anchor": AnchorPolicy.FIXED},
        "1 step": {"schedule": Schedule(config.schedule.sigmas[:1])},
        f"{len(other.sigmas)} steps": {"schedule": other},
        **{f"knot {k}": {"knot": k} for k in (1, 2) if k <= config.chunk},
    }
    ways = {name: replace(config, **change) for name, change in others.items()}
    return [Arm("default", model, config), *(Arm(name, model, way) for name, way in ways.items() if way != config)]


def in_step(arm: Arm, prompts: Sequence[tuple[str, ...]], seeds: tuple[int, ...]) -> Iterator[list[meters.Frames]]:
    """Roll out takes in step, and yield chunk by chunk the frames of each take, uint8 [n, H, W, 3].

    `prompts` holds for every chunk the prompt of each take.
    """
    generator = arm.model.generator.with_config(arm.config)
    state = generator.new_take(seeds, *arm.model.entry.size)
    streams = [generator.new_stream() for _ in seeds]
    for chunk, shown in enumerate(prompts):
        latents = generator.draw(state, [Prompt(shown)] if chunk == 0 or shown != prompts[chunk - 1] else [])
        generator.commit(state)
        yield [s.decode(latents[i : i + 1]).numpy() for i, s in enumerate(streams)]


def read(judge: Judge, chunks: Iterator[list[meters.Frames]], say: Callable[[int], None]) -> list[meters.Reading]:
    """Return what the judge reads, take by take: probabilities [chunks, values] of every attribute."""
    readings: list[list[meters.Reading]] = []
    for number, frames in enumerate(chunks, 1):
        readings.append([_reading(judge, f) for f in frames])
        say(number)
    return [{n: torch.cat([r[take][n] for r in readings]) for n in ATTRIBUTES} for take in range(len(readings[0]))]


def _reading(judge: Judge, frames: meters.Frames) -> meters.Reading:
    """Return what the judge reads in the frames [n, H, W, 3] of one chunk."""
    return judge.probabilities(torch.from_numpy(meters.window(frames))[None])


def short(judge: Judge, arm: Arm, pairs: list[tuple[Scene, Scene]], seeds: int, say: Progress) -> None:
    """Roll out every prompt with every seed, SWITCH chunks of its first scene, then its second, and measure."""
    # every take has noise of its own, so that an interval over prompts is one over noise, too
    takes = [(*pair, number * seeds + k) for number, pair in enumerate(pairs) for k in range(seeds)]
    captions = tuple(b.caption() for b, _, _ in takes), tuple(a.caption() for _, a, _ in takes)
    prompts = [captions[chunk >= SWITCH] for chunk in range(CHUNKS)]
    chunks = in_step(arm, prompts, tuple(seed for _, _, seed in takes))
    read_by_take = read(judge, chunks, lambda chunk: say(f"{arm.name}: chunk {chunk} of {CHUNKS}"))
    for number, (before, after) in enumerate(pairs):
        scenes = [before] * SWITCH + [after] * (CHUNKS - SWITCH)
        readings, rows = read_by_take[number * seeds : (number + 1) * seeds], []
        for reading in readings:
            shown = meters.adherence(reading, scenes)
            until = meters.chunks_until_shown({n: p[SWITCH:] for n, p in reading.items()}, before, after)
            arm.switches.append(until)
            fresh = meters.changed(before, after)
            late = meters.adherence({n: p[SWITCH + 1 :] for n, p in reading.items()}, scenes[SWITCH + 1 :], fresh)
            rows.append(
                {
                    "scene": _mean(meters.adherence(reading, scenes, SCENE_ATTRIBUTES)[_settled()]),
                    "subject": _mean(meters.adherence(reading, scenes, SUBJECT_ATTRIBUTES)[_settled()]),
                    "after switch": _mean(late),
                    "switch chunks": min(until, CHUNKS - SWITCH + 1) if until == until else CHUNKS - SWITCH + 1,
                    "continuity": meters.continuity(reading, SWITCH, before, after),
                }
            )
            for column, name in enumerate(WORDING):
                arm.attributes.setdefault(name, []).append(_mean(shown[_settled(), column]))
        for measure in rows[0]:
            arm.by_prompt[measure].append(_mean(np.array([r[measure] for r in rows])))
        arm.by_prompt["diversity"].append(
            meters.diversity([{n: p[1:SWITCH] for n, p in reading.items()} for reading in readings])
        )


def _settled() -> list[int]:
    """Return the chunks before which their prompt has had one chunk to take effect."""
    return [*range(1, SWITCH), *range(SWITCH + 1, CHUNKS)]


def _mean(values: meters.Numbers) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


@dataclass
class Drift:
    """Hold measurements of long streams, chunk by chunk."""

    name: str
    series: dict[str, list[list[float]]]  # measure → stream → chunk

    def slopes(self) -> dict[str, tuple[float, float, float]]:
        """Return the change per hundred chunks of every measure: mean over streams, and the bounds of its interval."""
        return {m: meters.interval([meters.slope(s) for s in streams]) for m, streams in self.series.items()}

    def against(self, base: Drift) -> dict[str, tuple[float, float, float]]:
        """Return how much more each measure changes per hundred chunks than in `base`, over their common length."""
        found = {}
        for measure, streams in self.series.items():
            pairs = list(zip(streams, base.series[measure], strict=True))
            found[measure] = meters.interval([meters.slope(a[: len(b)]) - meters.slope(b[: len(a)]) for a, b in pairs])
        return found


def long(judge: Judge, arm: Arm, streams: int, latents: int, say: Progress, switch_every: int = 0) -> Drift:
    """Roll out `streams` takes of `latents` latents or more, with a new prompt every `switch_every` chunks if not 0."""
    chunks = arm.config.grid.chunks(latents)
    rng, scenes = random.Random(77), [tuple(scene for scene, _ in prompts(streams, seed=77))]
    for i in range(1, chunks):
        new = switch_every and i % switch_every == 0
        scenes.append(tuple(changed_scene(s, rng, held_out=True) for s in scenes[-1]) if new else scenes[-1])
    captions = [tuple(s.caption() for s in now) for now in scenes]
    series: dict[str, list[list[float]]] = {
        m: [[] for _ in range(streams)] for m in ("adherence", "colour", "sharpness", "motion")
    }
    for number, (shown, frames) in enumerate(zip(scenes, in_step(arm, captions, tuple(range(streams))), strict=True)):
        for take, (scene, now) in enumerate(zip(shown, frames, strict=True)):
            reading = _reading(judge, now)
            series["adherence"][take].append(_mean(meters.adherence(reading, [scene])))
            series["colour"][take].append(meters.colour(now))
            series["sharpness"][take].append(meters.sharpness(now))
            series["motion"][take].append(meters.motion(now))
        say(f"{arm.name}: chunk {number + 1} of {chunks}")
    return Drift(arm.name, series)


def table(arms_: list[Arm], ceiling: dict[str, float]) -> str:
    """Format Markdown: every arm with its measures, then the default's attributes beside what survives the codec."""
    lines = ["| arm | " + " | ".join(MEASURES) + " | median, p90 |", "|---" * (len(MEASURES) + 2) + "|"]
    base = arms_[0]
    for arm in arms_:
        cells = []
        for m in MEASURES:
            mean, low, high = meters.interval(arm.by_prompt[m])
            cell = f"{mean:.2f} ({low:.2f}–{high:.2f})"
            if arm is not base:
                d, dl, dh = meters.interval(list(np.subtract(arm.by_prompt[m], base.by_prompt[m])))
                cell += f" Δ {d:+.2f} ({dl:+.2f}–{dh:+.2f})"
            cells.append(cell)
        never = CHUNKS - SWITCH + 1
        took = [s if s == s else never for s in arm.switches]
        median, p90 = np.median(took), np.quantile(took, 0.9)
        cells.append(f"{median:.0f}, {p90:.0f}" + (" (never in time)" if p90 >= never else ""))
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    lines += ["", "| attribute | adherence | through the codec |", "|---|---|---|"]
    for name, values in base.attributes.items():
        lines.append(f"| {name} | {_mean(np.array(values)):.3f} | {ceiling[name]:.3f} |")
    return "\n".join(lines) + "\n"


def save(
    folder: Path, arms_: list[Arm], drifts: list[Drift], ceiling: dict[str, float], record: Mapping[str, str | int]
) -> str:
    """Write table.md, results.json and, of long streams, drift.png; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = table(arms_, ceiling)
    for drift in drifts:
        said = _slopes(drift.slopes())
        if drift is not drifts[0]:
            said += f"; against {drifts[0].name}: {_slopes(drift.against(drifts[0]))}"
        mean, low, high = meters.interval([_mean(np.array(s)) for s in drift.series["adherence"]])
        text += f"\n{drift.name}: adherence {mean:.3f} ({low:.3f}–{high:.3f}); drift per 100 chunks: {said}\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    results = {
        "record": dict(record),
        "ceiling": ceiling,
        "arms": {a.name: {"by_prompt": a.by_prompt, "attributes": a.attributes, "switches": a.switches} for a in arms_},
        "drift": {d.name: d.series for d in drifts},
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    if drifts:
        _plot(drifts, folder / "drift.png")
    return text


def _slopes(found: dict[str, tuple[float, float, float]]) -> str:
    return ", ".join(f"{m} {v:+.4f} ({low:+.4f}–{high:+.4f})" for m, (v, low, high) in found.items())


def sheet(model: Model, path: Path, seeds: int = 3) -> None:
    """Write a contact sheet: every prompt of SHEET with its first seeds, at 1.5 and at 4 seconds."""
    takes = [(prompt, seed) for prompt in SHEET for seed in range(seeds)]
    arm, at = Arm("sheet", model, model.entry.rollout), [round(s * model.entry.fps) for s in (1.5, 4)]
    chunks = arm.config.grid.chunks(latents_showing(at[-1] + 1))
    films = zip(*in_step(arm, [tuple(p for p, _ in takes)] * chunks, tuple(s for _, s in takes)), strict=True)
    cells = [np.concatenate([_small(frame) for frame in np.concatenate(film)[at]], 1) for film in films]
    rows = []
    for number, prompt in enumerate(SHEET):
        pictures = np.concatenate(cells[number * seeds : (number + 1) * seeds], 1)
        title = np.full((18, pictures.shape[1], 3), 255, np.uint8)
        cv2.putText(title, prompt, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
        rows += [title, pictures]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def _small(frame: meters.Frames) -> meters.Frames:
    return cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA)


def _plot(drifts: list[Drift], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True)
    for axis, measure in zip(axes.flat, drifts[0].series, strict=True):
        for drift in drifts:
            mean = np.nanmean(np.array(drift.series[measure], float), axis=0)
            width = max(1, len(mean) // 40)
            axis.plot(np.convolve(mean, np.ones(width) / width, "valid"), label=drift.name)
        axis.set_title(measure)
        axis.set_ylim(0, 1.1 * axis.dataLim.ymax)  # flat lines stand clear of the frame
    axes[1][0].set_xlabel("chunk")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
