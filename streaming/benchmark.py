"""Measure how fast a model rolls out on this machine, and where a chunk's time goes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from models.checkpoints.assemble import Model
from models.cue import Cue, Prompt
from models.pocket.world.portrait.gallery import GALLERY, drawn
from streaming.chunk_cost import flops_a_chunk
from streaming.media.video_writer import encode_fragment
from streaming.rollout import Boundary, Rollout
from streaming.speech.portrait_drive import PortraitDrive
from streaming.take.take_file import CueLine, Take

SWITCH_EVERY = 4  # chunks
PARTS = ("denoise", "clean pass", "encode text", "recache", "decode", "encode")


def matmul_limit(device: torch.device, dtype: torch.dtype, n: int = 2048, seconds: float = 1.0) -> float:
    """Measure FLOP/s of a large matrix product on this device: the arithmetic limit that shares are counted against."""
    n = 8192 if device.type == "cuda" else n
    a = torch.randn(n, n, device=device, dtype=dtype)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        a @ a
        _finish(device)
        times.append(time.perf_counter() - began)
    return 2 * n**3 / min(times)


@dataclass(frozen=True)
class Result:
    """Hold medians in seconds over chunks with a full window; `spread` holds their quartiles."""

    median: dict[str, float]
    spread: dict[str, tuple[float, float]]
    loop_fps: float  # denoise and clean pass
    end_to_end_fps: float  # decode and encode too
    memory_gb: float
    flops: float
    limit: float

    @property
    def share(self) -> float:
        """Return the share of the arithmetic limit that denoising and clean pass reach."""
        return self.flops / (self.median["denoise"] + self.median["clean pass"]) / self.limit


def measure(model: Model, size: tuple[int, int] | None, chunks: int, text_length: int) -> Result:
    """Roll out until `chunks` chunks with a full window are measured; every fourth starts with another prompt."""
    entry, device = model.entry, model.generator.device
    width, height = size or entry.size
    take = Take(model=entry.name, size=f"{width}x{height}", cues=[CueLine(prompt="a red ball bounces by day")])
    speaks = entry.driving_features is not None
    rollout = Rollout(model, take, drive=PortraitDrive(model, drawn(GALLERY["ada"])) if speaks else None)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    full = entry.rollout.grid.chunks(entry.rollout.window)
    seconds: dict[str, list[float]] = {name: [] for name in PARTS}
    for i in range(full + chunks):
        switch = i >= full and (i - full) % SWITCH_EVERY == SWITCH_EVERY - 1
        prompt = f"a blue ball circles by day, {i}"
        text = _seconds(partial(model.generator.text, prompt), device) if switch else 0.0
        boundary, landing = _chunk(rollout, [Prompt(prompt)] if switch else [], device)
        encode = _seconds(partial(encode_fragment, list(boundary.frames), 0, 0, entry.fps), device)
        if i < full:
            continue
        if switch:
            seconds["encode text"].append(text)
            seconds["recache"].append(landing)
        seconds["denoise"].append(boundary.seconds["draw"] - landing)
        seconds["decode"].append(boundary.seconds["decode"])
        seconds["clean pass"].append(boundary.seconds["commit"])
        seconds["encode"].append(encode)
    median = {name: statistics.median(v) if v else float("nan") for name, v in seconds.items()}
    spread = {n: _quartiles(v) for n, v in seconds.items()}
    frames = entry.rollout.grid.frames
    loop = median["denoise"] + median["clean pass"]
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident()
    return Result(
        median,
        spread,
        frames / loop,
        frames / (loop + median["decode"] + median["encode"]),
        memory / 1e9,
        flops_a_chunk(entry, width, height, text_length),
        matmul_limit(device, model.generator.dtype),
    )


def _chunk(rollout: Rollout, cues: list[Cue], device: torch.device) -> tuple[Boundary, float]:
    """Draw and settle a chunk; return it and the seconds that its cues took, up to the first step of denoising."""
    began, steps = time.perf_counter(), list[float]()

    def before_step() -> None:
        if not steps:
            _finish(device)
        steps.append(time.perf_counter())

    rollout.step(cues, before_step)
    return rollout.settle(), steps[0] - began


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long some work takes, until the device is done with it."""
    began = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (values[0], values[0]) if values else (float("nan"), float("nan"))
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _peak_resident() -> float:
    """Return the most bytes of memory that this process had; NaN where the system does not say (Windows)."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def as_markdown(result: Result, model: Model, size: tuple[int, int], *, random_weights: bool) -> str:
    """Return a section of the log: what ran where, and its figures."""
    device, dtype = model.generator.device, str(model.generator.dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    rows = [
        f"| {part} | {1000 * result.median[part]:.1f} | "
        f"{1000 * result.spread[part][0]:.1f} – {1000 * result.spread[part][1]:.1f} |"
        for part in PARTS
    ]
    return "\n".join(
        [
            f"## {model.entry.name}, {size[0]}x{size[1]}, {' '.join(model.engine.values()) or dtype}, {name}",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, "
            f"torch {torch.__version__}, diffusers {version('diffusers')}"
            + (", random weights" if random_weights else ""),
            "",
            f"- loop (denoise and clean pass) {result.loop_fps:.1f} fps, end to end {result.end_to_end_fps:.1f} fps "
            f"(media rate {model.entry.fps})",
            f"- memory at its peak {result.memory_gb:.2f} GB",
            f"- {result.flops / 1e12:.3f} TFLOP a chunk, {100 * result.share:.0f} % of the "
            f"{result.limit / 1e12:.2f} TFLOP/s "
            "that a large matrix product reaches here",
            "",
            "| part of a chunk | median ms | quartiles |",
            "|---|---|---|",
            *rows,
            "",
            "",
        ]
    )


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
