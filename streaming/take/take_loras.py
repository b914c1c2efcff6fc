"""Read the LoRA files that a take names, and let its model merge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoints.assemble import Model
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.lora_file import lora_for, read_lora
from models.cue import LoraScale, scale_text
from models.errors import UserError
from models.lora import MOST_LORAS, LoraError, MergedLoras, rescaled
from models.time_grid import TimeGrid
from streaming.take.take_file import Take

OF_RECORD = "lora "  # begins the names of a record's entries that identify LoRA files


def lora_names(take: Take) -> list[str]:
    """Return the names of the LoRAs that a take's cues use, in the order of their first use."""
    return list(dict.fromkeys(LoraScale.parse(text).name for cue in take.cues for text in cue.lora))


def offered_loras(take: Take, model: Model) -> list[str]:
    """Return the names of the LoRAs that a live take uses or may come to use, of those that its model has read."""
    read = () if model.generator.loras is None else model.generator.loras.names
    return [name for name in dict.fromkeys([*(take.loras or {}), *lora_names(take)]) if name in read]


def lora_record(model: Model, names: Sequence[str]) -> dict[str, str | int]:
    """Return the entries of a record that identify these LoRAs, which the model has read; KeyError without them."""
    loras, fixed = model.generator.loras, model.generator.fixed.digests
    read: dict[str, str | int] = {} if loras is None else {OF_RECORD + name: loras.digest(name) for name in names}
    return read | {OF_RECORD + name: digest for name, digest in fixed.items()}


def held_loras(take: Take, grid: TimeGrid, fps: int) -> tuple[LoraScale, ...] | None:
    """Return the LoRAs that hold from a take's first chunk to its end; None if they change on the way."""
    held: tuple[LoraScale, ...] = ()
    for first, cue in take.landing(grid, fps):
        scales = rescaled(held, [LoraScale.parse(text) for text in cue.lora])
        if first and scales != held:
            return None
        held = scales
    return held


def with_held_loras(model: Model, scales: tuple[LoraScale, ...]) -> Model:
    """Return a model with LoRAs, which it has read, merged for good; `model` is not to be used beside it."""
    return replace(model, generator=model.generator.with_loras(scales))


def use_loras(model: Model, take: Take, folder: Path) -> list[str]:
    """Let a model merge the LoRAs that a take's cues name, and return notes on them for a person.

    An engine with LoRAs merged for good reads none: CueError unless the take has the same ones throughout.

    A name is a path, beside the take in `folder` unless it is absolute; the take's own `loras` say where else its files
    lie. LoraError or CheckpointError, in one line, if the model takes none, a file cannot be read or does not fit.
    """
    notes: list[str] = []
    names, fixed = lora_names(take), model.generator.fixed
    if fixed.scales:  # an engine has them
        held = held_loras(take, model.entry.rollout.grid, model.entry.fps)
        if held is None:
            raise LoraError(f"this engine has {fixed} merged for good, and the take changes its LoRAs on the way")
        fixed.require(held)
        return notes
    if len(names) > MOST_LORAS:
        raise LoraError(f"the take names {len(names)} LoRAs; {MOST_LORAS} are the most")
    read: list[str] = []
    try:
        for name in names:
            notes += use_lora(model, name, folder / (take.loras or {}).get(name, name))
            read.append(name)
    except UserError:
        for name in read:
            model.generator.loras.drop(name)  # type: ignore[union-attr]  # it has taken them
        raise
    return notes


def loras_of(model: Model, name: str) -> MergedLoras:
    """Return what merges the LoRA called `name` into a model's weights; LoraError if the model takes none."""
    loras, entry = model.generator.loras, model.entry
    if entry.driving_features is not None:
        raise LoraError(f"{name}: {entry.name} is an avatar, which takes no LoRA")
    if loras is None:
        engine = model.engine.get("engine", "this engine")
        raise LoraError(f"{name}: {engine} has weights of its own, and takes no LoRA; use --engine torch")
    return loras


def use_lora(model: Model, name: str, path: Path) -> tuple[str, ...]:
    """Let a model merge the LoRA in the file `path` by a name, and return notes on it; errors as from `use_loras`."""
    loras = loras_of(model, name)
    try:  # a pipe or a device would never end
        why = "" if path.is_file() or path.is_dir() else "is no ordinary file" if path.exists() else "no such file"
    except OSError as e:  # such as a name that is too long
        why = e.strerror or type(e).__name__
    if why:
        raise CheckpointError(f"{str(path)[:200]}: the LoRA cannot be read ({why})")
    found = lora_for(path, loras.parameters, model.entry.name)
    loras.add(name, found.digest, found.changes)
    return found.notes


def merged_loras(model: Model, given: Sequence[str]) -> tuple[Model, list[str]]:
    """Return a model with the LoRAs of `FILE[:SCALE]` options merged for good, and notes; errors as of `offered`."""
    loras, notes = offered(given), list[str]()
    for lora in loras:
        notes += use_lora(model, lora.name, lora.path)
    scales = rescaled((), [LoraScale(lora.name, lora.scale) for lora in loras])
    if not scales:
        raise LoraError("every LoRA has the scale 0, which merges nothing: leave --lora out")
    return with_held_loras(model, scales), notes


def only_used(take: Take) -> Take:
    """Return a take whose files and record tell of no LoRA that its cues do not use."""
    used = lora_names(take)
    files = {name: path for name, path in (take.loras or {}).items() if name in used}
    record = {
        k: v for k, v in (take.record or {}).items() if not k.startswith(OF_RECORD) or k[len(OF_RECORD) :] in used
    }
    return take.model_copy(update={"loras": files or None, "record": record or None})


def recorded_loras(take: Take) -> dict[str, str | int]:
    """Return what identifies the LoRA files that a take was made with, as a record has it.

    Of those that were uploaded while it ran, the cues tell; of others, the record.
    """
    record = {key: value for key, value in (take.record or {}).items() if key.startswith(OF_RECORD)}
    names = lora_names(take)
    told = {name: digest for cue in take.cues for name, digest in cue.hashes.items() if name in names}
    return record | {OF_RECORD + name: digest for name, digest in told.items()}


def changed_loras(then: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[str]:
    """Return the names of the LoRAs whose files are not what they were when a record was made."""
    both = [key for key in then if key.startswith(OF_RECORD) and key in now]
    return [key.removeprefix(OF_RECORD) for key in both if then[key] != now[key]]


def offered(given: Sequence[str]) -> list[OfferedLora]:
    """Return the LoRAs that `FILE[:SCALE]` options name; LoraError or CheckpointError if they cannot be used together.

    Files are read, so that one that is no LoRA is told of before anything starts.
    """
    loras = [OfferedLora.parse(text) for text in given]
    names = [lora.name for lora in loras]
    for lora in loras:
        if names.count(lora.name) > 1:
            raise LoraError(f"{lora.path}: two LoRAs are called {lora.name}; rename one of the files")
        read_lora(lora.path)
    if len(loras) > MOST_LORAS:
        raise LoraError(f"{len(loras)} LoRAs are too many; {MOST_LORAS} are the most")
    return loras


def with_offered(take: Take, offered: Sequence[OfferedLora]) -> Take:
    """Return a live take that may use these LoRAs, and begins with those whose scale is not 0."""
    if not offered:
        return take
    lines = [f"{lora.name}:{scale_text(lora.scale)}" for lora in offered if lora.scale]
    first, *others = take.cues
    files = {lora.name: str(lora.path) for lora in offered}
    return take.model_copy(update={"loras": files, "cues": [first.model_copy(update={"lora": lines}), *others]})


@dataclass(frozen=True)
class OfferedLora:
    """Name a LoRA that was given on the command line: its file, and the scale with which takes begin."""

    name: str
    path: Path
    scale: float

    @classmethod
    def parse(cls, text: str) -> OfferedLora:
        """Return what `FILE` or `FILE:SCALE` says; named as its file. ValueError for a wrong scale."""
        given = LoraScale.parse(text)
        path = Path(given.name).absolute()
        return cls(path.name, path, given.scale)
