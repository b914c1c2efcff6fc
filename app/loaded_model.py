"""Load a model for a command on the device and engine that its options name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from app.device_name import DeviceError, require_device
from app.fitting import Fitting
from models.catalog import Entry
from models.checkpoints.assemble import Model, folder_of, load, random_model
from models.checkpoints.folders import engines_folder, models_folder
from models.lora import LoraError
from streaming.take.take_file import Take
from streaming.take.take_loras import held_loras, with_held_loras


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


def load_model(
    entry: Entry,
    device: str,
    engine: str = "torch",
    *,
    random_weights: bool = False,
    fitting: Fitting | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Model:
    """Load an entry's weights, or random ones, on the device of that name, and choose the engine that runs it.

    `fitting` says with which codec and within which memory; `note` is called with what was changed for that. Raises
    CheckpointError without the files, ExportError without the engine, DeviceError without the device, RoomError without
    the memory.
    """
    from app.engine_choice import chosen, require_installed

    require_installed(engine)
    where, fits = torch_device(device), fitting or Fitting()
    if random_weights:
        model = random_model(fits.plan(entry, where, precision_of(where)).entry, where, precision_of(where))
    else:
        model = fits.load(entry, folder_of(entry, models_folder()), where, precision_of(where), note, load)
    return model if engine == "torch" else chosen(model, engine, engines_folder())


def run_with_loras(model: Model, takes: Sequence[Take], engine: str) -> Model:
    """Return a model, which has read the LoRAs of takes, run by the engine of that name with them merged for good.

    `auto` leaves it in torch where no exported engine has these LoRAs, or the takes change theirs. LoraError if the
    takes cannot be run by an engine that is asked for, ExportError if there is none with these LoRAs.
    """
    from app.engine_choice import chosen

    entry = model.entry
    held = {held_loras(take, entry.rollout.grid, entry.fps) for take in takes}
    scales = held.pop() if len(held) == 1 else None
    if scales is None:
        if engine == "auto":
            return model
        raise LoraError(
            f"--engine {engine} has its LoRAs merged for good, and these change during the take; use --engine torch"
        )
    found = chosen(with_held_loras(model, scales), engine, engines_folder())
    return found if found.engine else model
