"""Read super-resolution networks from files, enlarge frames with them, and refuse what is none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from upscalers import compact, importable_spandrel, written

from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.upscaler_file import UpscaleError, load_upscaler, require_spandrel

CPU = torch.device("cpu")


pytestmark = pytest.mark.skipif(importlib.util.find_spec("spandrel") is None, reason="spandrel is not installed")


@pytest.fixture(autouse=True)
def spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    importable_spandrel(monkeypatch)


@pytest.mark.parametrize(("scale", "size"), [(2, (13, 20)), (4, (128, 128))])
def test_frames_are_enlarged_by_the_network_of_the_file(tmp_path: Path, scale: int, size: tuple[int, int]) -> None:
    upscaler = load_upscaler(written(tmp_path, compact(scale)), CPU)
    frames = np.random.default_rng(0).integers(0, 255, (40 if scale == 4 else 3, *size, 3), np.uint8)
    large = upscaler.enlarged(frames)
    assert (upscaler.scale, upscaler.architecture) == (scale, "RealESRGAN Compact")
    assert np.array_equal(large, frames.repeat(scale, 1).repeat(scale, 2))


def test_a_network_in_half_precision_draws_what_it_draws_in_float32(tmp_path: Path) -> None:
    whole = compact(2, sharpening=0.5)
    half = load_upscaler(written(tmp_path, {k: t.half() for k, t in whole.items()}, "half.safetensors"), CPU)
    frames = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
    full = load_upscaler(written(tmp_path, whole), CPU)
    assert np.array_equal(half.enlarged(frames), full.enlarged(frames))
    assert half.fingerprint != full.fingerprint


@pytest.mark.parametrize(
    ("tensors", "wrong"),
    [
        ({"a.weight": torch.zeros(2)}, "holds no upscaler that spandrel knows; there is a.weight"),
        (compact(1), r"leaves pictures at their size \(scale 1\)"),
        (compact(2, channels=1), "turns 1 channels into 1; pictures have 3, RGB"),
        (compact(9), "enlarges 9 times; 8 times is the most"),
        (compact(2) | {"body.2.bias": torch.full((12,), torch.nan)}, "holds values that are no numbers"),
        ({k: t for k, t in compact(2).items() if k != "body.2.bias"}, "damaged or of an unknown variant"),
        (compact(2) | {"body.1.weight": torch.ones(5)}, "damaged or of an unknown variant"),
    ],
)
def test_what_is_no_upscaler_is_refused_in_one_line(
    tmp_path: Path, tensors: dict[str, torch.Tensor], wrong: str
) -> None:
    with pytest.raises(CheckpointError, match=wrong) as error:
        load_upscaler(written(tmp_path, tensors), CPU)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(("data", "wrong"), [(b"", "empty"), (b"\x89PNG\r\n", "PNG"), (b"text", "text")])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, data: bytes, wrong: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=wrong):
        load_upscaler(tmp_path / "x.safetensors", CPU)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    torch.save(compact(2), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"an upscaler is a safetensors file, and this is .*; save its weights"):
        load_upscaler(tmp_path / "x.pth", CPU)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("spandrel", r"needs spandrel, which is not installed: pip install -e '.\[upscale\]'"),
        (
            "torchvision",
            "needs torchvision, which is not installed: pip install torchvision, of the build of torch 2",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_imported(
    missing: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "spandrel")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UpscaleError, match=says):
        require_spandrel()
    assert "spandrel" not in sys.modules


@pytest.mark.parametrize("why", [ImportError("No module named 'torchvision'"), RuntimeError("operator nms\nat")])
def test_a_torchvision_that_does_not_fit_is_said_in_one_line(
    why: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str) -> None:
        raise why

    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(UpscaleError, match=r"cannot be imported .*: pip install torchvision, of the build of") as error:
        load_upscaler(written(tmp_path, compact(2)), CPU)
    assert str(error.value).isprintable()
