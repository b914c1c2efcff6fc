"""Meters of a picture against its truth, on pictures that differ in a known way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.judge import sharpness


def square() -> np.ndarray:
    """Draw a white square on black, two frames."""
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[:, 20:44, 20:44] = 255
    return frames


def test_psnr_follows_its_definition() -> None:
    true = np.full((3, 8, 8, 3), 100, np.uint8)
    assert sharpness.psnr(true + 10, true) == pytest.approx(10 * np.log10(255**2 / 100))
    assert sharpness.psnr(true, true) == float("inf")
    assert sharpness.psnr(true[0] + 10, true[0]) == sharpness.psnr(true + 10, true)


def test_edge_psnr_sees_only_what_is_near_an_edge() -> None:
    true = square()
    far, near = true.copy(), true.copy()
    far[:, :8, :8] = 90
    near[:, 18:26, 18:26] = 90
    assert sharpness.edge_psnr(far, true) == float("inf")
    assert sharpness.edge_psnr(near, true) < sharpness.psnr(near, true)
    assert np.isnan(sharpness.edge_psnr(far, np.zeros_like(true)))


def test_gradient_energy_falls_with_a_blur_and_rises_with_noise() -> None:
    true = np.random.default_rng(0).integers(60, 196, (2, 64, 64, 3), dtype=np.uint8)
    soft = np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in true])
    noisy = np.clip(true + np.random.default_rng(1).normal(0, 30, true.shape), 0, 255).astype(np.uint8)
    assert sharpness.gradient_energy(true, true) == 1
    assert sharpness.gradient_energy(soft, true) < 0.5
    assert sharpness.gradient_energy(noisy, true) > 1.05
    half = (true // 2).astype(np.uint8)
    assert sharpness.gradient_energy(half, true) == pytest.approx(0.5, abs=0.01)


def test_frames_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        sharpness.psnr(square(), square()[:1])
