"""Render films that a network enlarges: the same after a kill, and with a warning where they shimmer."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from renders import MODEL as TINY
from renders import KilledError, killed_at
from torch import Tensor

from models.upscaler import Upscaler
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.take.take_file import CueLine, Take
from streaming.upscaled_pictures import UpscaledPictures

TAKE = Take(model="tiny", length=45, cues=[CueLine(prompt="one")])


def upscaler_of(sharpening: float = 0.0) -> Upscaler:
    """Return a network that doubles pixels and adds `sharpening` times their distance from their neighbours."""

    def network(pictures: Tensor) -> Tensor:
        sharp = pictures + sharpening * (pictures - F.avg_pool2d(pictures, 3, 1, 1))
        return F.interpolate(sharp.clamp(0, 1), scale_factor=2)

    return Upscaler(network, 2, "doubling", f"sharpened {sharpening}", torch.device("cpu"))


def test_an_upscaled_render_that_was_killed_resumes_to_the_same_film(tmp_path: Path) -> None:
    upscaler = upscaler_of(0.3)
    whole, part = (Job(TAKE, TINY, tmp_path / f"{name}.mp4", upscaler=upscaler) for name in ("whole", "part"))
    report = whole.run(go_on=False).as_json()
    with pytest.raises(KilledError):
        part.run(go_on=False, progress=killed_at(11))
    Job(TAKE, TINY, part.out, upscaler=upscaler).run(go_on=True)
    assert whole.out.read_bytes() == part.out.read_bytes()
    with av.open(str(whole.out)) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (64, 64)
    assert report["upscale"]["file"] == upscaler.fingerprint
    assert report["upscale_median_s"] > 0


@pytest.mark.parametrize("then", ["another", "none"])
def test_a_film_does_not_go_on_with_another_upscaler(tmp_path: Path, then: str) -> None:
    Job(TAKE, TINY, tmp_path / "a.mp4", upscaler=upscaler_of()).run(go_on=False)
    other = upscaler_of(0.3) if then == "another" else None
    with pytest.raises(RenderError, match="another --upscale"):
        Job(TAKE, TINY, tmp_path / "a.mp4", upscaler=other).run(go_on=True)


@pytest.mark.parametrize(("sharpening", "shimmers"), [(0.0, False), (4.0, True)])
def test_a_film_that_shimmers_more_than_before_is_warned_of(tmp_path: Path, sharpening: float, shimmers: bool) -> None:
    pictures = UpscaledPictures(upscaler_of(sharpening))
    rng = np.random.default_rng(0)
    frames = np.full((36, 64, 64, 3), 120, np.uint8) + rng.integers(0, 2, (36, 64, 64, 1), np.uint8)
    frames[:, :16, :16] = rng.integers(0, 255, (36, 16, 16, 3), np.uint8)  # moves, and is not looked at
    for part in np.split(frames, [9, 21]):
        assert pictures.of(part).shape == (len(part), 128, 128, 3)
    assert pictures.before == pytest.approx(1 - 0.5 / 255, abs=2e-4)
    assert (pictures.warning() is not None) == shimmers
    if shimmers:
        assert "what stands still changes by" in str(pictures.warning())
    else:
        assert pictures.after == pytest.approx(pictures.before, abs=1e-6)
    assert pictures.facts()["still_places"] == 3 * (64 - 4)


def test_nothing_is_said_of_steadiness_where_everything_moves() -> None:
    pictures = UpscaledPictures(upscaler_of(4.0))
    pictures.of(np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), np.uint8))
    assert (pictures.before, pictures.after, pictures.warning()) == (None, None, None)
