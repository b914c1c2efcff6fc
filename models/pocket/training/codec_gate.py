"""Check a codec before a transformer is trained: every attribute readable, sharp edges, and a sheet for the eye."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.codecs.tiny import TinyCodec
from models.judge import sharpness
from models.judge.classifier import Judge
from models.judge.train_classifier import accuracy, sample
from models.pocket.training.drawing_pool import DrawingPool
from models.pocket.training.footage import SIZE, Frames
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import Scene

LOST, ENERGY, PSNR = 0.01, 0.93, 27.0  # share of readings lost at most; gradient energy of the truth; dB
METERED, THINNED = 32, 3  # windows whose pictures are measured; every such frame of them
HELD = 4  # copies of a window's first frame that fill the first latent

Windows = list[tuple[Frames, Scene]]

SHOWN = (
    Scene(place="city", light="night", subject="rocket", colour="yellow", motion="sway", landmark="tower"),
    Scene(place="sea", light="day", subject="fish", colour="red", motion="right", palette="azure"),
    Scene(place="forest", light="day", weather="snow", subject="cube", colour="purple", motion="bounce"),
    Scene(place="city", light="sunset", weather="rain", subject="fish", colour="yellow", motion="circle"),
    Scene(place="meadow", light="night", weather="fog", subject="ball", colour="white", side="left", motion="sway"),
    Scene(place="sea", light="night", subject="star", colour="white", motion="left", landmark="tower"),
    Scene(place="desert", light="sunset", subject="rocket", colour="green", size="small", palette="rose"),
    Scene(place="meadow", light="night", weather="snow", subject="fish", colour="blue", size="small", motion="left"),
)


@dataclass(frozen=True)
class Report:
    """Hold what a codec keeps: readings (of the world, through the codec) by attribute, and meters of the picture."""

    psnr_db: float
    edge_psnr_db: float
    gradient_energy: float  # of the truth's
    readings: dict[str, tuple[float, float]]  # empty where no judge of this world was there

    def failures(self) -> list[str]:
        """Return the gate's conditions that are not met, a line each."""
        lines = [
            f"{name} is read right in {after:.3f} of reconstructions, {before:.3f} of the world's own clips"
            for name, (before, after) in self.readings.items()
            if after < before - LOST
        ]
        if self.gradient_energy < ENERGY:
            lines.append(f"gradient energy is {self.gradient_energy:.3f} of the truth; {ENERGY} is asked for")
        if self.psnr_db < PSNR:
            lines.append(f"PSNR is {self.psnr_db:.2f} dB; {PSNR} is asked for")
        return lines


def drawn_windows(count: int, workers: int, seed: int = 12345) -> Windows:
    """Draw windows of twelve frames in forked processes, held-out pairs among them as in the judge's training."""

    def window(rng: random.Random) -> tuple[tuple[NDArray[np.uint8]], Scene]:
        clip, scene = sample(rng)
        return (clip,), scene

    out: Windows = []
    with DrawingPool(window, workers, slots=4 * workers, seed=seed) as pool:
        while len(out) < count:
            filled = pool.take(1, count - len(out))
            clips = pool.fields[0][filled.slots].numpy()
            out += zip(clips, filled.facts, strict=True)
            pool.release(filled.slots)
    return out


@torch.inference_mode()
def through(codec: TinyCodec, clips: list[Frames], batch: int = 8) -> list[Frames]:
    """Return clips of equal length [4n, H, W, 3] uint8 after the codec, on its device."""
    out: list[Frames] = []
    for i in range(0, len(clips), batch):
        video = torch.from_numpy(np.stack(clips[i : i + batch])).to(codec.mean.device).movedim(-1, -3).float() / 255
        again, _ = codec.decode(codec.encode(torch.cat([video[:, :1].expand(-1, HELD, -1, -1, -1), video], 1)))
        shown = again[:, HELD:].clamp(0, 1).mul(255).round().to(torch.uint8).movedim(2, -1)
        out += list(shown.cpu().numpy())
    return out


def measure(codec: TinyCodec, windows: Windows, judge: Judge | None) -> Report:
    """Send windows through the codec and read what is left."""
    true = [clip for clip, _ in windows]
    made = through(codec, true)
    readings: dict[str, tuple[float, float]] = {}
    if judge is not None:
        again = [(clip, scene) for clip, (_, scene) in zip(made, windows, strict=True)]
        before, after = accuracy(judge, windows), accuracy(judge, again)
        readings = {name: (before[name], after[name]) for name in before}
    pairs = [(t[::THINNED], m[::THINNED]) for t, m in list(zip(true, made, strict=True))[:METERED]]
    return Report(
        psnr_db=float(np.mean([sharpness.psnr(m, t) for t, m in pairs])),
        edge_psnr_db=float(np.mean([sharpness.edge_psnr(m, t) for t, m in pairs])),
        gradient_energy=float(np.mean([sharpness.gradient_energy(m, t) for t, m in pairs])),
        readings=readings,
    )


def shown_clips() -> list[Frames]:
    """Draw twelve frames of each scene in SHOWN."""
    return [draw_clip([Beat(0, scene)], 12, SIZE, start=20)[0] for scene in SHOWN]


def sheet(codec: TinyCodec, clips: list[Frames]) -> NDArray[np.uint8]:
    """Return the eighth frame of `shown_clips` beside its reconstruction, two pairs a row: [4 * SIZE, 4 * SIZE, 3]."""
    made = through(codec, clips)
    pairs = [np.concatenate([t[7], m[7]], 1) for t, m in zip(clips, made, strict=True)]
    return np.concatenate([np.concatenate(pairs[i : i + 2], 1) for i in range(0, len(pairs), 2)], 0)
