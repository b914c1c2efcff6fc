"""Load a model for a command: on the device and the engine that its options name."""

from __future__ import annotations

import torch

from models.catalog import Entry
from models.checkpoints.assemble import Model, folder_of, load, random_model
from models.checkpoints.folders import engines_folder, models_folder
from streaming.render_job import torch_device


def precision_of(device: torch.device) -> torch.dtype:
    """Return the precision in which models run on a device: bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_model(entry: Entry, device: str, engine: str = "torch", *, random_weights: bool = False) -> Model:
    """Load an entry's weights, or random ones, on `device` (auto, cpu or cuda), and choose the engine that runs it.

    Raises CheckpointError without the files, ExportError without the engine, RenderError without the device.
    """
    where = torch_device(device)
    if random_weights:
        model = random_model(entry, where, precision_of(where))
    else:
        model = load(entry, folder_of(entry, models_folder()), where, precision_of(where))
    if engine == "torch":
        return model
    from app.engine_choice import chosen

    return chosen(model, engine, engines_folder())
