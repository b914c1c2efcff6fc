"""Measure an engine against eager torch: single steps, a long rollout, pixels, the judge's reading, and time."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.capture import Captured, capture, x0_error
from exporters.engine_modules import EngineTransformer, Runners, Say, with_engine
from exporters.rollouts import Script, roll, script
from models.checkpoints.assemble import Model
from models.judge import meters
from models.judge.classifier import Judge

JUDGED_CHUNKS, JUDGED_SWITCH = 8, 4
POINT = 0.01  # of adherence: what an engine may lose at most, at the 95 % bound, to be a default
JUDGMENTS = 2000  # fewer prove nothing
DRIFTING = {"colour": meters.colour, "sharpness": meters.sharpness, "motion": meters.motion}


@dataclass
class Timing:
    """Hold medians in seconds, and frames a second of the transformer alone and with the decoder."""

    chunk: float
    decode: float
    loop_fps: float
    end_to_end_fps: float


@dataclass
class Adherence:
    """Hold judgments of takes drawn twice with the same noise, by torch and by the engine."""

    judgments: int
    torch: float
    engine: float
    loss: float  # of adherence, paired; positive: the engine shows less of what its prompts say
    loss_bounds: tuple[float, float]  # 95 %, bootstrapped over prompts

    @property
    def good(self) -> bool:
        """Return whether the engine may be a default."""
        return self.judgments >= JUDGMENTS and self.loss_bounds[1] <= POINT


def steps(model: Model, runners: Runners, captured: Sequence[Captured]) -> dict[str, list[float]]:
    """Return relative x0 errors of single passes on torch's own inputs, by sigma."""
    found: dict[str, list[float]] = {}
    for one in captured:
        outputs = {n: t.new_empty(t.shape, dtype=runners.transformer.dtype) for n, t in one.outputs.items()}
        inputs = {
            n: (t if n in ("timestep", "cos", "sin") else t.to(runners.transformer.dtype)).contiguous()
            for n, t in one.inputs.items()
        }
        runners.transformer.run(inputs, outputs)
        if one.sigma > 0:
            error = x0_error(model, one, outputs["prediction"])
        else:  # a clean pass: what counts is the keys and values that it leaves
            pairs = [(outputs[n].float(), one.outputs[n]) for n in ("new_keys", "new_values")]
            error = float(max((have - want).norm() / want.norm() for have, want in pairs))
        found.setdefault(f"{one.sigma:.3g}", []).append(error)
    return found


def rollout(model: Model, other: Model, latents: int, say: Say, judge: Judge | None = None) -> dict[str, list[float]]:
    """Draw a take of at least `latents` latents, with two switches, by both models; return what differs, by chunk.

    These are relative and largest latent error, PSNR in dB, the engine's DRIFTING measures minus torch's, and with a
    judge adherence minus torch's.
    """
    chunks = model.entry.rollout.grid.chunks(latents)
    take = script(7, chunks, (chunks // 3, 2 * chunks // 3))
    series: dict[str, list[float]] = {"relative": [], "largest": [], "psnr": [], **{m: [] for m in DRIFTING}}
    if judge is not None:
        series["adherence"] = []
    for number, ((a, want), (b, have)) in enumerate(zip(roll(model, take), roll(other, take), strict=True), 1):
        difference = (have.float() - want.float()).abs()
        series["relative"].append(float(difference.norm() / want.norm()))
        series["largest"].append(float(difference.max()))
        torchs, ours = a.codec.decode(want), b.codec.decode(have)
        series["psnr"].append(psnr(torchs, ours))
        for measure, meter in DRIFTING.items():
            series[measure].append(meter(ours.numpy()) - meter(torchs.numpy()))
        if judge is not None:
            scene = [take.scene_at(number - 1)]
            shown = [np.nanmean(meters.adherence(_reading(judge, [f]), scene)) for f in (ours, torchs)]
            series["adherence"].append(float(shown[0] - shown[1]))
        say(f"long take: chunk {number} of {chunks}")
    return series


def drift(series: dict[str, list[float]]) -> dict[str, float]:
    """Return how an engine moves away from torch over a long take: what each measure gains per hundred chunks."""
    return {m: meters.slope(series[m]) for m in (*DRIFTING, "adherence") if m in series}


def _reading(judge: Judge, chunks: Sequence[Tensor]) -> meters.Reading:
    """Return the judge's reading of the frames [n, H, W, 3] of each chunk."""
    windows = np.stack([meters.window(frames.numpy()) for frames in chunks])
    return judge.probabilities(torch.from_numpy(windows))


def psnr(want: Tensor, have: Tensor) -> float:
    """Return the PSNR of frames [n, H, W, 3] uint8 in dB, at most 99 (equal frames)."""
    error = float((want.float() - have.float()).square().mean())
    return min(99.0, 10 * np.log10(255**2 / error)) if error else 99.0


def adherence(model: Model, other: Model, judge: Judge, prompts: int, say: Say) -> Adherence:
    """Have the judge read takes of held-out prompts, a switch in each, drawn by both from the same noise."""
    losses, totals, count = [], [0.0, 0.0], 0
    settled = [c for c in range(JUDGED_CHUNKS) if c not in (0, JUDGED_SWITCH)]
    for number in range(prompts):
        take = script(50_000 + number, JUDGED_CHUNKS, (JUDGED_SWITCH,), held_out=True)
        shown = [_shown(m, take, judge)[settled] for m in (model, other)]
        both = np.isfinite(shown[0])
        count += int(both.sum())
        means = [float(s[both].mean()) for s in shown]
        losses.append(means[0] - means[1])
        for i, s in enumerate(shown):
            totals[i] += float(s[both].sum())
        say(f"judged: {number + 1} of {prompts} prompts")
    loss, low, high = meters.interval(losses)
    return Adherence(count, totals[0] / count, totals[1] / count, loss, (low, high))


def _shown(model: Model, take: Script, judge: Judge) -> meters.Numbers:
    """Return 1 where a chunk shows what its prompt says, else 0, [chunks, attributes]."""
    reading = _reading(judge, [state.codec.decode(latents) for state, latents in roll(model, take)])
    return meters.adherence(reading, [take.scene_at(c) for c in range(take.chunks)])


def timing(models: dict[str, Model], chunks: int = 12) -> dict[str, Timing]:
    """Time chunks and decoding of engines of one model, interleaved, so that a busy moment hits all alike."""
    config = next(iter(models.values())).generator.config
    fill, frames = config.grid.chunks(config.window), config.grid.frames
    takes = {name: roll(m, script(3, fill + chunks, ())) for name, m in models.items()}
    drawn: dict[str, list[float]] = {name: [] for name in models}
    decoded: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(fill + chunks):
        for name, take in takes.items():
            began = time.perf_counter()
            state, latents = next(take)
            latents.cpu()  # a GPU is done when its result is here
            middle = time.perf_counter()
            state.codec.decode(latents)
            drawn[name].append(middle - began)
            decoded[name].append(time.perf_counter() - middle)
    out = {}
    for name in models:
        chunk, decode = statistics.median(drawn[name][fill:]), statistics.median(decoded[name][fill:])
        out[name] = Timing(chunk, decode, frames / chunk, frames / (chunk + decode))
    return out


def resident() -> float:
    """Return the memory of this process in MB; its peak where the system does not say more."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def compared(model: Model, runners: Runners) -> tuple[Model, dict[str, Any]]:
    """Return the engine's model, and the errors of single steps."""
    other = with_engine(model, runners)
    assert isinstance(other.generator.transformer, EngineTransformer)
    captured = capture(model, [script(2000, 14, (4, 9)), script(2001, 8, (3,))], every=3)
    found = {s: {"mean": float(np.mean(v)), "largest": max(v)} for s, v in steps(model, runners, captured).items()}
    return other, {"steps": found, "passes": len(captured)}
