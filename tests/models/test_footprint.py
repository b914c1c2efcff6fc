"""Memory and disk of a model are known before it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import catalog
from models.checkpoints.assemble import ASSETS, load
from models.checkpoints.footprint import disk_bytes, memory_bytes


def test_memory_is_what_the_loaded_weights_take() -> None:
    model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
    weights = sum(p.numel() * p.element_size() for p in model.generator.transformer.parameters())
    cache = 2 * 8 * 12 * 64 * 320 * 4  # keys and values of 8 layers, 12 latents of 8x8 tokens
    assert memory_bytes(catalog.POCKET, 4) == weights + cache


def test_a_model_that_is_not_in_the_catalog_is_counted_with_what_drives_it() -> None:
    plain = replace(catalog.AVATAR, name="another", driving_features=None)
    model = load(catalog.AVATAR, ASSETS, torch.device("cpu"), torch.float32)
    driving = model.generator.transformer.driving_attention
    assert driving is not None
    more = sum(p.numel() for p in driving.parameters())
    assert memory_bytes(catalog.AVATAR, 4) - memory_bytes(plain, 4) == 4 * more


def test_a_large_model_counts_its_text_encoder() -> None:
    assert memory_bytes(catalog.LONGLIVE, 2) / 1e9 == pytest.approx(2.8 + 11.4 + 3.5, abs=0.5)


def test_disk_is_that_of_the_files_or_nothing(tmp_path: Path) -> None:
    files = [ASSETS / "pocket" / f"{n}.safetensors" for n in ("codec", "transformer")]
    assert disk_bytes(catalog.POCKET, tmp_path) == sum(f.stat().st_size for f in files)
    assert disk_bytes(catalog.LONGLIVE, tmp_path) is None
