"""Load a model for a command on the device and engine that its options name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch

from app.attention_choice import prefer_fastest
from app.device_name import DeviceError, require_device
from app.fitting import Fitting
from models.catalog import Entry
from models.checkpoints.assemble import Model, folder_of, load, random_model
from models.checkpoints.folders import engines_folder, models_folder
from models.lora import LoraError
from streaming.take.take_file import Take
from streaming.take.take_loras import held_loras, with_held_loras

if TYPE_CHECKING:
    from app.engine_choice import Readings


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


def precision_of(device: torch.device, engine: str = "torch") -> torch.dtype:
    """Return the precision in which torch runs models on a device, given the value of `--engine`.

    That is what a value such as `torch:bf16` says; otherwise bfloat16 on a GPU and on a CPU that is faster in it, and
    float32 on other CPUs and for weights that an exported engine is compared with.
    """
    from app.bfloat16_speed import bfloat16_pays
    from app.engine_choice import torch_precision

    asked = torch_precision(engine)
    faster = asked == "bf16" if asked else device.type == "cuda" or bfloat16_pays()
    return torch.bfloat16 if faster else torch.float32


def exact_precision_of(device: torch.device) -> torch.dtype:
    """Return the precision of the weights that engines are made from: float32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def readings(read: Callable[[torch.dtype], Model], device: torch.device, engine: str) -> Readings:
    """Return the ways to read a model, given `read` and the value of `--engine`; each is read once at most.

    Prints a note where the precision that is asked for is emulated by the CPU.
    """
    from app.bfloat16_speed import emulates_bfloat16
    from app.engine_choice import Readings, say, torch_precision, with_compiled_blocks

    if torch_precision(engine) == "bf16" and device.type == "cpu" and emulates_bfloat16():
        say("note: this processor has no bfloat16 arithmetic and is many times slower in it; torch:fp32 is faster here")
    once = cache(read)
    exact, runs = exact_precision_of(device), precision_of(device, engine)
    name = "" if runs == exact else str(runs).removeprefix("torch.")
    return Readings(lambda: once(exact), lambda: with_compiled_blocks(once(runs), engine, engines_folder()), name)


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

    def read(precision: torch.dtype) -> Model:
        if random_weights:
            plan = fits.plan(entry, where, precision)
            prefer_fastest(plan.entry, where, precision)
            return random_model(plan.entry, where, precision, float8=plan.float8, offloaded=plan.offloaded)
        return fits.load(entry, folder_of(entry, models_folder()), where, precision, note, load)

    return chosen(readings(read, where, engine), engine, engines_folder())


def run_with_loras(model: Model, takes: Sequence[Take], engine: str) -> Model:
    """Return a model, which has read the LoRAs of takes, run by the engine of that name with them merged for good.

    `auto` leaves it in torch where no exported engine has these LoRAs, or the takes change theirs. LoraError if the
    takes cannot be run by an engine that is asked for, ExportError if there is none with these LoRAs.
    """
    from app.engine_choice import Readings, chosen

    entry = model.entry
    held = {held_loras(take, entry.rollout.grid, entry.fps) for take in takes}
    scales = held.pop() if len(held) == 1 else None
    if scales is None:
        if engine == "auto":
            return model
        raise LoraError(
            f"--engine {engine} has its LoRAs merged for good, and these change during the take; use --engine torch"
        )
    merged = with_held_loras(model, scales)
    found = chosen(Readings(lambda: merged, lambda: merged), engine, engines_folder())
    return found if found.engine else model
