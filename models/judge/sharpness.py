"""Measure a picture against its truth, with pure functions on uint8 frames [n, H, W, 3] or [H, W, 3] RGB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

EDGE = 40.0  # grey levels a pixel; a steeper slope of the true picture is an edge
NEAR = 2  # pixels around an edge that belong to it


def _decibel(squared_error: float) -> float:
    return float("inf") if squared_error == 0 else 10 * float(np.log10(255**2 / squared_error))


def _checked(made: Frames, true: Frames) -> tuple[Frames, Frames]:
    if made.shape != true.shape or made.dtype != np.uint8 or true.dtype != np.uint8:
        raise ValueError(f"not frames of one shape: {made.dtype} {made.shape} and {true.dtype} {true.shape}")
    return made.reshape(-1, *made.shape[-3:]), true.reshape(-1, *true.shape[-3:])


def _gradients(frame: Frames) -> NDArray[np.float32]:
    """Return the slopes of a frame's channels across and down, by central differences: [2, H, W, 3] levels a pixel."""
    f = frame.astype(np.float32)
    return np.stack([cv2.Sobel(f, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(f, cv2.CV_32F, 0, 1) / 8])


def psnr(made: Frames, true: Frames) -> float:
    """Return the peak signal-to-noise ratio in dB over all pixels; infinite for equal frames."""
    made, true = _checked(made, true)
    return _decibel(
        float(np.mean([np.square(m.astype(np.float32) - t).mean() for m, t in zip(made, true, strict=True)]))
    )


def edge_mask(frame: Frames) -> NDArray[np.bool_]:
    """Return which pixels of a frame [H, W, 3] lie within `NEAR` pixels of an edge: [H, W]."""
    steep = np.sqrt(np.square(_gradients(frame)).sum(0)).max(-1) > EDGE
    return cv2.dilate(steep.astype(np.uint8), np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)).astype(bool)


def edge_psnr(made: Frames, true: Frames) -> float:
    """Return the PSNR in dB of the pixels near edges of the true frames; nan if these have none."""
    made, true = _checked(made, true)
    errors, count = 0.0, 0
    for m, t in zip(made, true, strict=True):
        near = edge_mask(t)
        errors += float(np.square(m[near].astype(np.float64) - t[near]).sum())
        count += 3 * int(near.sum())
    return _decibel(errors / count) if count else float("nan")


def gradient_energy(made: Frames, true: Frames) -> float:
    """Return the mean slope of the frames as a ratio to the truth's: below 1 is softer, above 1 sharper or noisier.

    Raises ZeroDivisionError for true frames without any slope.
    """
    made, true = _checked(made, true)
    ours, theirs = (sum(float(np.abs(_gradients(f)).mean()) for f in frames) for frames in (made, true))
    return ours / theirs
