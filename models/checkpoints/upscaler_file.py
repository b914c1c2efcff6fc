"""Load a super-resolution network from a safetensors file; spandrel tells architecture and scale by its keys.

Super-resolution draws each frame by itself. Small networks (SRVGG "Compact" of Real-ESRGAN, 2107.10833; SPAN,
2311.12770) take fractions of a second for a frame of 128x128 on a CPU, transformers such as DRCT (2404.00722) many.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.file_kind import WeightFormat, found
from models.checkpoints.safetensors_header import read_header
from models.checkpoints.wan_family import seems_to_be
from models.errors import UserError
from models.upscaler import Upscaler

MOST_SCALE = 8
_TORCHVISION = f"pip install torchvision, of the build of torch {torch.__version__} (with the --index-url it came from)"
_TRIAL = 64  # pixels: sides of the picture with which a network is tried


class UpscaleError(UserError):
    """Report, in one line for a person, that frames cannot be upscaled."""


def require_spandrel() -> None:
    """Raise UpscaleError that says what to install unless spandrel and torchvision are there; nothing is imported.

    spandrel imports torchvision for two networks that do not upscale, and cannot be imported without it.
    """
    if "spandrel" in sys.modules:
        return
    if importlib.util.find_spec("spandrel") is None:
        raise UpscaleError("--upscale needs spandrel, which is not installed: pip install -e '.[upscale]'")
    if importlib.util.find_spec("torchvision") is None:
        raise UpscaleError(f"--upscale needs torchvision, which is not installed: {_TORCHVISION}")


def load_upscaler(path: Path, device: torch.device) -> Upscaler:
    """Return the network in a file, in float32 on `device`, after a trial.

    Raises CheckpointError if the file holds no weights that spandrel knows, or a network that does not make RGB
    pictures larger, and UpscaleError if spandrel cannot be used.
    """
    tensors = _tensors(path)
    descriptor = _described(path, tensors)
    name = str(descriptor.architecture.name)
    if type(descriptor).__name__ == "MaskedImageModelDescriptor":
        raise CheckpointError(f"{path}: {name} fills in parts of a picture; an upscaler is needed")
    if descriptor.scale == 1 or descriptor.purpose != "SR":
        what = "restores faces" if descriptor.purpose == "FaceSR" else "leaves pictures at their size (scale 1)"
        raise CheckpointError(f"{path}: {name} {what}; an upscaler, such as of scale 2 or 4, is needed")
    if descriptor.scale > MOST_SCALE:
        raise CheckpointError(f"{path}: {name} enlarges {descriptor.scale} times; {MOST_SCALE} times is the most")
    channels = descriptor.input_channels, descriptor.output_channels
    if channels != (3, 3):
        raise CheckpointError(f"{path}: {name} turns {channels[0]} channels into {channels[1]}; pictures have 3, RGB")
    network = descriptor.to(device, torch.float32).eval()
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    upscaler = Upscaler(network, int(descriptor.scale), name, digest, device)
    _try(upscaler, path)
    return upscaler


def _tensors(path: Path) -> dict[str, Tensor]:
    finding = found(path)
    if finding.format is not WeightFormat.SAFETENSORS:
        how = "; save its weights as safetensors" if finding.format is not None else ""
        raise CheckpointError(f"{path}: an upscaler is a safetensors file, and this is {finding.description}{how}")
    read_header(path)
    try:
        tensors = load_file(path)
    except Exception as e:  # the library's errors have no class in common
        raise CheckpointError(f"{path}: cannot be read as weights ({type(e).__name__})") from e
    endless = [k for k, t in tensors.items() if t.is_floating_point() and not t.float().isfinite().all()]
    if endless:
        raise CheckpointError(f"{path}: holds values that are no numbers (NaN or infinite) in {some_of(endless)}")
    return {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}


def _described(path: Path, tensors: dict[str, Tensor]) -> Any:
    """Return spandrel's descriptor of the network."""
    require_spandrel()
    try:
        spandrel = importlib.import_module("spandrel")
    except (ImportError, RuntimeError) as e:  # torchvision of another build than torch raises RuntimeError
        why = str(e).partition("\n")[0][:200]
        raise UpscaleError(f"--upscale needs spandrel, which cannot be imported ({why}): {_TORCHVISION}") from e
    try:
        return spandrel.ModelLoader().load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as e:
        what = seems_to_be(tensors)
        known = f"it seems to be {what}" if what else f"there is {some_of(list(tensors))}" if tensors else "it is empty"
        raise CheckpointError(f"{path}: holds no upscaler that spandrel knows; {known}") from e
    except Exception as e:  # architectures take keys and shapes for granted, and fail in many ways without them
        why = (str(e).strip() or type(e).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path}: an upscaler that is damaged or of an unknown variant ({why})") from e


def _try(upscaler: Upscaler, path: Path) -> None:
    """Enlarge a grey picture; CheckpointError if that fails or gives another size than the file's keys tell."""
    picture = torch.full((2, 3, _TRIAL, _TRIAL), 0.5, device=upscaler.device)
    try:
        large = upscaler.network(picture)
    except Exception as e:  # as above
        why = (str(e).strip() or type(e).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path}: {upscaler.architecture} fails on two grey pictures ({why})") from e
    side = _TRIAL * upscaler.scale
    if large.shape != (2, 3, side, side) or not large.isfinite().all():
        raise CheckpointError(
            f"{path}: {upscaler.architecture} makes no picture of {side}x{side} from {_TRIAL}x{_TRIAL}"
        )
