"""Measure whether the mouth follows the voice, and how late, with pure functions on openness [frames] and sound.

Openness comes from `models.judge.face_reader` or a landmark detector. ITU-R BT.1359: viewers notice beyond +45 ms
(sound early) and −125 ms (sound late); here a positive lag is a late picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Sound = NDArray[np.float32]  # [samples] mono, −1…1

BAND = (0.5, 8.0)  # Hz, where syllables are
REACH_MS = 500.0
SILENT_DBFS = -50.0
SILENT_SECONDS = 0.3


@dataclass(frozen=True)
class Sync:
    """Hold the best agreement of mouth and voice within ± 500 ms."""

    correlation: float
    lag_ms: float  # positive: the picture is late
    null: float  # 95th percentile of the same for 100 circular shifts of the sound

    @property
    def margin(self) -> float:
        """Return the correlation above chance."""
        return self.correlation - self.null


@dataclass(frozen=True)
class SyncOverTime:
    """Summarise the lag over five-second windows with speech, one a second."""

    windows: int
    lag_ms: float  # median
    spread_ms: float  # interquartile range
    drift_ms: float  # slope of the lag a minute: clocks that run apart


def loudness(audio: Sound, frames: int, fps: float = 25, rate: int = 16_000) -> Numbers:
    """Return RMS in dBFS of the 1/fps window of every frame, [frames]; −120 for silence and past the sound's end."""
    edges = np.round(np.arange(frames + 1) * rate / fps).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(audio, np.float64) ** 2)])
    # a cumulated sum loses about 1e-16 of the total, −120 dBFS of a loud hour
    power = np.diff(energy[np.minimum(edges, len(audio))]) / np.diff(edges)
    return 10 * np.log10(np.maximum(power, 1e-12))


def envelope(audio: Sound, frames: int, fps: float = 25, rate: int = 16_000) -> Numbers:
    """Return the logarithm of the loudness of every frame, [frames], with a floor at −50 dBFS."""
    return np.logaddexp(loudness(audio, frames, fps, rate) * np.log(10) / 20, np.log(10) * SILENT_DBFS / 20)


def bandpassed(series: Numbers, fps: float = 25) -> Numbers:
    """Filter a series [n] to 0.5…8 Hz without delay; ends are mirrored."""
    n = len(series)
    mirrored = np.concatenate([series, series[::-1]])
    hertz = np.fft.rfftfreq(2 * n, 1 / fps)
    rise = np.clip((hertz - 0.6 * BAND[0]) / (0.4 * BAND[0]), 0, 1)
    fall = np.clip((1.25 * BAND[1] - hertz) / (0.25 * BAND[1]), 0, 1)
    return np.fft.irfft(np.fft.rfft(mirrored) * np.sin(np.pi / 2 * rise * fall) ** 2, 2 * n)[:n]


def correlations(openness: Numbers, sound: Numbers, reach: int) -> Numbers:
    """Return corr(openness at t + τ, sound at t) for τ = −reach … reach, [2 · reach + 1]; 0 where one is constant."""
    out = np.zeros(2 * reach + 1)
    for i, tau in enumerate(range(-reach, reach + 1)):
        o = openness[max(0, tau) : len(openness) + min(0, tau)]
        a = sound[max(0, -tau) : len(sound) - max(0, tau)]
        o, a = o - o.mean(), a - a.mean()
        size = np.sqrt((o**2).sum() * (a**2).sum())
        out[i] = (o * a).sum() / size if size > 1e-9 else 0.0
    return out


def _peak(r: Numbers) -> tuple[float, float]:
    """Return height and place of the largest value, between samples by a parabola through its neighbours."""
    i = int(r.argmax())
    if not 0 < i < len(r) - 1:
        return float(r[i]), float(i)
    left, middle, right = r[i - 1 : i + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < -1e-12 else 0.0
    return float(middle - 0.25 * (left - right) * shift), i + float(shift)


def _lagged(openness: Numbers, sound: Numbers, fps: float) -> tuple[float, float]:
    reach = round(REACH_MS / 1000 * fps)
    height, at = _peak(correlations(openness, sound, reach))
    return height, (at - reach) * 1000 / fps


def sync(openness: Numbers, audio: Sound, fps: float = 25, rate: int = 16_000, seed: int = 0) -> Sync:
    """Measure the agreement of an openness series [frames] (any unit) and its sound from frame 0 on.

    Raises ValueError for fewer than three seconds.
    """
    if len(openness) < 3 * fps:
        raise ValueError(f"{len(openness) / fps:.1f} s are too short to tell a lag; 3 s are needed")
    o = bandpassed(np.asarray(openness, np.float64), fps)
    a = bandpassed(envelope(audio, len(o), fps, rate), fps)
    correlation, lag = _lagged(o, a, fps)
    away = round(fps)  # a shift by less is a lag, not chance
    shifts = np.random.default_rng(seed).integers(away, len(a) - away, 100)
    null = float(np.quantile([_lagged(o, np.roll(a, s), fps)[0] for s in shifts], 0.95))
    return Sync(correlation, lag, null)


def sync_over_time(openness: Numbers, audio: Sound, fps: float = 25, rate: int = 16_000) -> SyncOverTime:
    """Measure the lag in windows of five seconds, one a second, of which at least a third is speech.

    All figures are nan without a window, the drift with fewer than three.
    """
    o = bandpassed(np.asarray(openness, np.float64), fps)
    a = bandpassed(envelope(audio, len(o), fps, rate), fps)
    speaks = loudness(audio, len(o), fps, rate) > SILENT_DBFS
    span, lags, minutes = round(5 * fps), [], []
    for start in range(0, len(o) - span + 1, round(fps)):
        part = slice(start, start + span)
        if speaks[part].mean() >= 1 / 3:
            lags.append(_lagged(o[part], a[part], fps)[1])
            minutes.append((start + span / 2) / fps / 60)
    if not lags:
        return SyncOverTime(0, np.nan, np.nan, np.nan)
    low, middle, high = np.quantile(lags, [0.25, 0.5, 0.75])
    drift = float(np.polyfit(minutes, lags, 1)[0]) if len(lags) > 2 else np.nan
    return SyncOverTime(len(lags), float(middle), float(high - low), drift)


def silent(audio: Sound, frames: int, fps: float = 25, rate: int = 16_000) -> NDArray[np.bool_]:
    """Return which frames [frames] belong to a stretch of more than 300 ms below −50 dBFS."""
    quiet = loudness(audio, frames, fps, rate) < SILENT_DBFS
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    out = np.zeros(frames, bool)
    for start, stop in edges.reshape(-1, 2):
        out[start:stop] = stop - start > SILENT_SECONDS * fps
    return out


def silence_ratio(openness: Numbers, audio: Sound, fps: float = 25, rate: int = 16_000) -> float:
    """Return mean openness in silence divided by that in speech; 0 is a resting mouth, nan without both."""
    rests = silent(audio, len(openness), fps, rate)
    if rests.all() or not rests.any():
        return float("nan")
    return float(openness[rests].mean() / max(openness[~rests].mean(), 1e-9))
