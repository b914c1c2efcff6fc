"""Load a model for a command on the device and engine that its options name."""

from __future__ import annotations

import torch

from app.device_name import DeviceError, require_device
from models.catalog import Entry
from models.checkpoints.assemble import Model, folder_of, load, random_model
from models.checkpoints.folders import engines_folder, models_folder


def torch_device(name: str) -> torch.device:
    """Return the device that `--device` names; `auto` prefers CUDA. DeviceError if torch cannot use it."""
    require_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; auto and cpu are left"
        )
    return device


def precision_of(device: torch.device) -> torch.dtype:
    """Return the precision in which models run on a device: bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_model(entry: Entry, device: str, engine: str = "torch", *, random_weights: bool = False) -> Model:
    """Load an entry's weights, or random ones, on the device of that name, and choose the engine that runs it.

    Raises CheckpointError without the files, ExportError without the engine, DeviceError without the device.
    """
    from app.engine_choice import chosen, require_installed

    require_installed(engine)
    where = torch_device(device)
    if random_weights:
        model = random_model(entry, where, precision_of(where))
    else:
        model = load(entry, folder_of(entry, models_folder()), where, precision_of(where))
    return model if engine == "torch" else chosen(model, engine, engines_folder())
