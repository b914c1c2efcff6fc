"""Run the codec stage of the GPU plan in a time limit: beginnings tried, both halves, the decoder alone, the gate."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from models.checkpoints.weight_files import CheckpointError
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import POCKET
from models.judge import classifier
from models.pocket import weights
from models.pocket.training import codec_gate
from models.pocket.training.codec import CodecTraining, begun, eased, statistics, with_statistics
from models.pocket.training.codec_loss import Adversary
from models.pocket.training.footage import SCENES, ClipBank, Frames, pool_of
from models.pocket.training.log import Log

SAVE_EVERY = 60.0  # seconds
LOST = 16.0  # dB below which, or without a number, a beginning is not trained on
DECODER_PEAK = 0.3  # learning rate of a decoder that is trained on, as a share of MUON and ADAM
TOLERATED = 0.1  # dB that a bolder beginning may be behind after its trial: it gains more in the long run
JUDGE = Path(__file__).resolve().parents[3] / "assets" / "judge" / "judge.safetensors"


@dataclass(frozen=True)
class Sizes:
    """Say how much of everything the codec stage does."""

    workers: int
    bank: int = 10_000  # shots on the device
    first: int = 1_000  # of them before the first step
    batch: int = 64  # crops a step
    crop: int = 128
    whole: int = 16  # whole pictures a step, later
    windows: int = 256  # of the gate
    trial: float = 2.0  # seconds of each beginning tried
    tries: tuple[tuple[str, float], ...] = (("grown", 0.35),)
    report_every: float = 10.0  # seconds
    end: float = 10.0  # seconds kept for the gate and the sheet


DRY = Sizes(
    1, bank=24, first=6, batch=2, crop=64, whole=1, windows=8, trial=3.0, tries=(("grown", 0.2), ("new", 0.5)), end=15.0
)


@dataclass(frozen=True)
class CodecShares:
    """Hold shares of the training time, one behind the other."""

    joint: float = 0.84  # encoder and decoder; crops, then for the last part whole pictures
    whole_from: float = 0.60  # of all training time: whole pictures from here on
    decoder: float = 0.10  # the decoder alone
    adversarial: float = 0.06  # the decoder alone, against a discriminator; left out where not asked for


def codec_stage(
    seconds: float,
    device_name: str,
    out: Path,
    sizes: Sizes,
    log: Log,
    start: Path | None,
    seed: int,
    *,
    adversarial: bool,
    decoder_only: bool = False,
) -> None:
    """Train a codec: learning rates tried, both halves, the decoder alone, the gate. Files appear in `out`.

    With `decoder_only` the encoder and the latents of `start` stay to the bit, so that a transformer that draws such
    latents keeps its value: crops, then whole pictures, then the discriminator. Raises ValueError without a `start`.
    """
    if decoder_only and start is None:
        raise ValueError("a decoder alone is trained behind an encoder that is there")
    windows = codec_gate.drawn_windows(sizes.windows, sizes.workers)
    shown = codec_gate.shown_clips()
    log(f"{len(windows)} windows for the gate")
    with pool_of(SCENES, sizes.workers, min(sizes.bank, 32 * sizes.workers), seed) as pool:
        device = torch.device(device_name)
        torch.manual_seed(seed)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.benchmark_limit = 3  # trying them all takes 15 s
            torch.set_float32_matmul_precision("high")
            pinned = pool.pin()
            log(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, memory page-locked: {pinned}")
        bank = ClipBank(pool, sizes.bank, device, seed)
        while bank.count < sizes.first:
            bank.fill(1, 64)
        log(f"{bank.count} shots drawn")
        run = _CodecRun(bank, sizes, log, out, seconds - sizes.end, windows, start)
        run.train(adversarial=adversarial, decoder_only=decoder_only)
    run.finish(shown)


class _CodecRun:
    """Run the codec stage on its device, once clips are there."""

    def __init__(
        self,
        bank: ClipBank,
        sizes: Sizes,
        log: Log,
        out: Path,
        until: float,
        windows: codec_gate.Windows,
        start: Path | None,
    ) -> None:
        self.bank, self.sizes, self.log, self.out, self.until = bank, sizes, log, out, until
        self.windows = windows
        self.start = weights.load_codec(start) if start is not None else None
        self.training: CodecTraining
        self.results: dict[str, object] = {}
        self.saved = log.spent
        self.candidates: dict[str, TinyCodec] = {}

    def train(self, *, adversarial: bool, decoder_only: bool) -> None:
        shares, sizes = CodecShares(), self.sizes
        if decoder_only:
            assert self.start is not None
            self.training = CodecTraining(self.start, self.bank.device, decoder_only=True)
            peak = DECODER_PEAK
        else:
            peak = self._tried()
        began, whole = self.log.spent, self.until - self.log.spent
        if not adversarial:
            shares = dataclasses.replace(shares, decoder=shares.decoder + shares.adversarial, adversarial=0.0)
        joint = shares.joint
        for done in self._until(began + joint * whole, "decoder, crops first" if decoder_only else "joint"):
            crops = done * joint < shares.whole_from
            batch = (sizes.batch, sizes.crop) if crops else (sizes.whole, self.bank.size)
            self._step(batch, peak * min(1.0, (self.training.steps + 1) / 40) * eased(done, 0.3, 0.03))
        if not decoder_only:
            self.training = self.training.freeze_encoder(self.bank)
            self._save("codec.safetensors", self.training.average, "encoder and decoder")
        for done in self._until(began + (joint + shares.decoder) * whole, "decoder"):
            self._step(
                (sizes.whole, self.bank.size), 0.3 * peak * min(1.0, (self.training.steps + 1) / 20) * eased(done, 0.0)
            )
        self.candidates["codec"] = copy.deepcopy(self.training.average)
        self._save("codec.safetensors", self.training.average, "decoder")
        if adversarial:
            adversary, first = Adversary(self.bank.device, share=0.2), self.training.steps
            for done in self._until(began + whole, "adversarial"):
                rate = 0.2 * peak * eased(done, 0.3)
                # the discriminator learns alone at first
                strength = min(1.0, max(0.0, (self.training.steps - first - 30) / 100))
                self._step((sizes.whole, self.bank.size), rate, adversary, strength)
            self.candidates["codec_adversarial"] = copy.deepcopy(self.training.average)
            self._save("codec_adversarial.safetensors", self.training.average, "adversarial")

    def finish(self, shown: list[Frames]) -> None:
        """Write sheets and metrics of every candidate."""
        judge = loaded_judge(self.bank.device, self.log)
        for name, codec in self.candidates.items():
            codec.eval()
            cv2.imwrite(str(self.out / f"{name}_sheet.png"), codec_gate.sheet(codec, shown)[..., ::-1])
            report = codec_gate.measure(codec, self.windows, judge)
            self.results[name] = dataclasses.asdict(report) | {"failures": report.failures()}
            self.log(
                f"{name}: psnr {report.psnr_db:.2f} dB  edge psnr {report.edge_psnr_db:.2f} dB"
                f"  gradient energy {report.gradient_energy:.3f}"
            )
            for line in report.failures():
                self.log(f"{name}: {line}")
        (self.out / "metrics.json").write_text(json.dumps(self.results, indent=1))
        self.log("done")

    def _step(
        self, batch: tuple[int, int], rate: float, adversary: Adversary | None = None, strength: float = 0.0
    ) -> None:
        if self.training.steps % 4 == 0:
            self.bank.fill(0)
        video, weight = self.bank.sample(*batch)
        self.training.step(video, weight, rate, adversary, strength)

    def _until(self, end: float, name: str) -> Iterator[float]:
        """Yield the share of a part's time that is spent, before every step; report and save now and then."""
        began, said, first = self.log.spent, self.log.spent, self.training.steps
        while (now := self.log.spent) < end:
            yield (now - began) / (end - began)
            if now - said >= self.sizes.report_every:
                rate = (self.training.steps - first) / (now - began)
                self.log(
                    f"{name}  step {self.training.steps}  {rate:.1f} steps/s  loss {self.training.loss.item():.4f}"
                    f"  psnr {self._psnr():.2f} dB  {self.bank.count} shots"
                )
                said = now
            if now - self.saved >= SAVE_EVERY and name != "adversarial":
                self._save("codec.safetensors", self.training.average, name)

    def _psnr(self) -> float:
        """Return the mean PSNR of eight windows, in dB."""
        true = [clip for clip, _ in self.windows[:8]]
        made = codec_gate.through(self.training.average, true)
        errors = [
            np.square(t.astype(np.float32) - m.astype(np.float32)).mean() for t, m in zip(true, made, strict=True)
        ]
        return float(np.mean(10 * np.log10(255**2 / np.array(errors))))

    def _tried(self) -> float:
        """Try beginnings and learning rates for seconds each; training goes on from the one with the best picture."""
        best: tuple[float, float, CodecTraining | None] = (-1.0, 0.0, None)
        video = self.bank.sample(8, self.sizes.crop)[0].cpu()
        for name, rate in self.sizes.tries:
            if name == "grown" and self.start is None:
                continue
            codec = begun(copy.deepcopy(self.start) if name == "grown" else None, POCKET, video)
            self.training = CodecTraining(codec, self.bank.device)
            self._step((self.sizes.batch, self.sizes.crop), 0.0)  # kernels are chosen before the time counts
            self.training.loss.item()
            for done in self._until(self.log.spent + self.sizes.trial, f"{name} at {rate}"):
                batch = (self.sizes.batch, self.sizes.crop)
                self._step(batch, rate * min(1.0, (self.training.steps + 1) / 20) * eased(done, 0.3))
            psnr = self._psnr()
            self.log(f"{name} at {rate}: psnr {psnr:.2f} dB after {self.training.steps} steps")
            self.results[f"{name} at {rate}"] = psnr
            if psnr > best[0] - TOLERATED:
                best = (psnr, rate, self.training)
        assert best[2] is not None
        if not best[0] > LOST:
            raise RuntimeError(f"the codec has lost the picture: {best[0]:.2f} dB")
        self.training = best[2]
        self.results["began"] = f"rate {best[1]}, psnr {best[0]:.2f} dB"
        return best[1]

    def _save(self, name: str, codec: TinyCodec, part: str) -> None:

        if not self.training.decoder_only:
            codec = with_statistics(codec, *statistics(codec, self.bank))
        facts: weights.Facts = {"stage": part, "steps": self.training.steps, "seconds": self.log.spent}
        weights.save_codec(codec, self.out / name, [facts])
        self.saved = self.log.spent
        self.log(f"saved {name}")


def loaded_judge(device: torch.device, log: Log) -> classifier.Judge | None:
    """Return the judge on the device; None, said in the log, where its file does not fit the world."""

    try:
        return classifier.load(JUDGE).to(device)
    except CheckpointError as error:
        log(f"no readings: {error}")
        return None
