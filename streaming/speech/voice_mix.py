"""Find the voice in a sound of several channels: detect channels that cancel each other, and constant offsets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.driving_signal import RATE
from streaming.speech.channel_resampler import Channels

BLOCK = RATE // 50  # samples over which power is measured
REACH = RATE // 20  # samples on either side whose mean counts as constant: a voice has nothing below 10 Hz
CONSTANT = 0.003  # share of full scale: a larger mean over a second is an offset to remove; −50 dBFS
CANCELLED = 0.1  # share of the channels' power: with less in the mix, a block has lost the voice
MOST_CANCELLED = 0.05  # share of the speech blocks

_WEIGHTS = {"FC": 1.0, "LFE": 0.0, "LFE2": 0.0} | dict.fromkeys(("SL", "SR", "BL", "BR", "BC"), 0.5)


def plain_mix(names: tuple[str, ...]) -> Channels:
    """Return weights [channels] of sum 1 that mix to mono: equal for one or two channels, else by ITU-R BS.775."""
    weights = np.ones(len(names)) if len(names) <= 2 else np.array([_WEIGHTS.get(n, 0.5**0.5) for n in names])
    if not weights.sum():
        weights = np.ones(len(names))
    return (weights / weights.sum()).astype(np.float32)


class ConstantRemover:
    """Subtract from each channel its mean over 100 ms around each sample, piece by piece."""

    def __init__(self, rate: int = RATE) -> None:
        """Read sound of `rate` samples a second."""
        self._reach = REACH * rate // RATE
        self._held: Channels = np.zeros((0, 0), np.float32)  # from 50 ms before the next one to return
        self._past = 0  # samples held before the next one to return

    def add(self, sound: Channels) -> Channels:
        """Add samples [channels, samples] and return those whose surroundings are known by now, possibly none."""
        self._held = np.concatenate([self._held, sound], 1) if len(self._held) else sound
        return self._give(max(self._past, self._held.shape[1] - self._reach))

    def rest(self) -> Channels:
        """Return the samples that are still held, at the end of the sound."""
        return self._give(self._held.shape[1])

    def _give(self, end: int) -> Channels:
        at = np.arange(self._past, end)
        low, high = np.maximum(at - self._reach, 0), np.minimum(at + self._reach + 1, self._held.shape[1])
        sums = np.concatenate([np.zeros((len(self._held), 1)), np.cumsum(self._held, 1, np.float64)], 1)
        mean = (sums[:, high] - sums[:, low]) / np.maximum(high - low, 1)
        out = (self._held[:, self._past : end] - mean).astype(np.float32)
        drop = max(0, end - self._reach)
        self._held, self._past = self._held[:, drop:], end - drop
        return out


class ChannelMeter:
    """Measure in blocks of 20 ms the power of each channel and of any mix of them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.samples = 0
        self.constant = False  # whether some channel has a constant offset
        self._names = names
        self._remover = ConstantRemover()
        self._rest: Channels = np.zeros((len(names), 0), np.float32)
        self._second = self._rest
        self._products: list[NDArray[np.float32]] = []  # [blocks, channels, channels], means over a block
        self._all = np.zeros((0, len(names), len(names)))  # `_products` joined, once everything is measured

    def add(self, sound: Channels) -> None:
        """Measure the samples [channels, samples] that follow, at 16 kHz."""
        self.samples += sound.shape[1]
        self._second = np.concatenate([self._second, sound], 1)
        while self._second.shape[1] >= RATE:
            self._look_for_constant(self._second[:, :RATE])
            self._second = self._second[:, RATE:]
        self._measure(self._remover.add(sound))

    def _look_for_constant(self, second: Channels) -> None:
        self.constant |= bool(np.abs(second.mean(1, dtype=np.float64)).max() > CONSTANT)

    def _measure(self, sound: Channels, *, last: bool = False) -> None:
        sound = np.concatenate([self._rest, sound], 1)
        if last and sound.shape[1] % BLOCK:
            sound = np.pad(sound, ((0, 0), (0, BLOCK - sound.shape[1] % BLOCK)))
        whole = sound.shape[1] // BLOCK * BLOCK
        self._rest = sound[:, whole:]
        if whole:
            blocks = sound[:, :whole].reshape(len(sound), -1, BLOCK).transpose(1, 0, 2)
            self._products.append((blocks @ blocks.transpose(0, 2, 1) / BLOCK).astype(np.float32))

    def finish(self) -> None:
        """Measure the samples that are still held; `power` and `mix` may be called only afterwards."""
        if self._second.shape[1] >= RATE // 4 or self.samples < RATE:
            self._look_for_constant(self._second)
        self._measure(self._remover.rest(), last=True)
        self._all = np.concatenate(self._products).astype(np.float64)

    def power(self, mix: Channels) -> NDArray[np.float64]:
        """Return the mean square of each block [blocks] of a mix by weights [channels]."""
        weights = mix.astype(np.float64)
        return np.maximum(np.einsum("i,bij,j->b", weights, self._all, weights), 0)

    def mix(self, floor: float) -> tuple[Channels, list[str]]:
        """Return weights [channels] that keep the voice in blocks of more power than `floor`, and notes.

        These are the weights of `plain_mix` unless its channels cancel each other in more than MOST_CANCELLED of the
        blocks; then some channels are inverted, or one alone is used, whichever keeps more power.
        """
        plain, products = plain_mix(self._names), self._all
        own = np.einsum("bii->bi", products)
        spoken = own.max(1) > floor
        apart = own @ np.square(plain.astype(np.float64))
        cancelled = self.power(plain)[spoken] < CANCELLED * apart[spoken]
        if not len(cancelled) or cancelled.mean() <= MOST_CANCELLED:
            return plain, []
        leader = int(own.sum(0).argmax())
        turned = plain * np.where(products.sum(0)[leader] < 0, -1, 1).astype(np.float32)
        choices = [turned, *np.eye(len(plain), dtype=np.float32)]
        loudest = own[spoken].max(1)
        kept = [float(np.log10(self.power(w)[spoken] / loudest + 1e-3).mean()) for w in choices]
        best = int(np.argmax(kept))
        how = "inverted before they are added" if best == 0 else f"left out but for one ({self._names[best - 1]})"
        return choices[best], [f"its channels cancel each other; for the mouth they are {how}"]
