"""What a model asks for is said before it is loaded, and a speed only if it was measured here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models import catalog
from models.checkpoints.assemble import ASSETS, load
from models.checkpoints.footprint import Speeds, disk, memory


def test_memory_is_what_the_loaded_weights_take() -> None:
    model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
    weights = sum(p.numel() * p.element_size() for p in model.generator.transformer.parameters())
    cache = 2 * 6 * 12 * 16 * 256 * 4  # keys and values of 6 layers, 12 latents of 4x4 tokens
    assert memory(catalog.POCKET, 4) == weights + cache


def test_a_large_model_counts_its_text_encoder() -> None:
    assert memory(catalog.LONGLIVE, 2) / 1e9 == pytest.approx(2.8 + 11.4 + 3.5, abs=0.5)


def test_disk_is_that_of_the_files_or_nothing(tmp_path: Path) -> None:
    files = [ASSETS / "pocket" / f"{n}.safetensors" for n in ("codec", "transformer")]
    assert disk(catalog.POCKET, tmp_path) == sum(f.stat().st_size for f in files)
    assert disk(catalog.LONGLIVE, tmp_path) is None


def test_a_speed_is_remembered_for_its_device_and_not_made_up(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "models")
    assert speeds.of("pocket", "cpu") is None
    speeds.measured("pocket", "cpu", 31.25, "bench")
    speeds.measured("pocket", "cpu", 33.33, "session")
    got = Speeds(tmp_path / "models").of("pocket", "cpu")
    assert got is not None
    assert (got["fps"], got["by"]) == (33.3, "session")
    assert speeds.of("pocket", "cuda") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pocket cpu": 5}', json.dumps({"pocket": 3})])
def test_whatever_lies_in_the_file_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "speeds.json").write_text(text)
    assert Speeds(tmp_path).of("pocket", "cpu") is None
    Speeds(tmp_path).measured("pocket", "cpu", 20, "bench")
    assert Speeds(tmp_path).of("pocket", "cpu") is not None
