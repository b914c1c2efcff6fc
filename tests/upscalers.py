"""Write tiny super-resolution networks in the layout of Real-ESRGAN's SRVGG Compact (2107.10833), which spandrel reads.

Compact adds what its convolutions give to the picture enlarged by the nearest pixels.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor


def importable_spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let spandrel be imported where torchvision is missing, which two of its networks name that do not upscale."""
    if "spandrel" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    with monkeypatch.context() as patch:
        names: dict[str, dict[str, Any]] = {
            "torchvision": {},
            "torchvision.transforms": {},
            "torchvision.transforms.functional": dict.fromkeys(("InterpolationMode", "normalize", "rotate")),
        }
        for name, members in names.items():
            module = ModuleType(name)
            vars(module).update(members)
            patch.setitem(sys.modules, name, module)
        importlib.import_module("spandrel")


def compact(scale: int = 2, channels: int = 3, sharpening: float = 0.0) -> dict[str, Tensor]:
    """Return a Compact network: nearest pixels plus `sharpening` times each pixel's distance from its neighbours."""
    first = torch.zeros(channels, channels, 3, 3)
    last = torch.zeros(channels * scale**2, channels, 3, 3)
    for c in range(channels):
        first[c, c, 1, 1] = 1
        last[c * scale**2 : (c + 1) * scale**2, c] = torch.full((3, 3), -sharpening / 8)
        last[c * scale**2 : (c + 1) * scale**2, c, 1, 1] = sharpening
    return {
        "body.0.weight": first,
        "body.0.bias": torch.zeros(channels),
        "body.1.weight": torch.ones(channels),  # of PReLU: linear
        "body.2.weight": last,
        "body.2.bias": torch.zeros(channels * scale**2),
    }


def written(folder: Path, tensors: dict[str, Tensor], name: str = "upscaler.safetensors") -> Path:
    save_file(tensors, folder / name)
    return folder / name
