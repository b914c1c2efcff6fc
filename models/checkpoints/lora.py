"""Fit a LoRA's tensors to a model, accounting for every key, and merge LoRAs into weights.

A fitted LoRA lists low-rank products and whole differences by parameter, for merging at load and at chunk borders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.lora_keys import IMAGE, REFUSED, TEXT_ENCODER, ModuleNames, Part, bare_name, part_of
from models.checkpoints.lora_scaling import LoraScaling, scale, sound_alpha
from models.checkpoints.quantised_weights import dtype_name
from models.checkpoints.training_wrappers import LeftOut, StateDict
from models.checkpoints.wan_family import seems_to_be
from models.lora import Change, Difference, LowRank, changed

_WIDTHS = {1536: "Wan 1.3B", 3072: "Wan 2.2 5B", 5120: "Wan 14B"}


@dataclass(frozen=True)
class Lora:
    """Hold a LoRA's changes to one model, and its unused keys with the reasons."""

    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]


@dataclass
class _Module:
    """Collect the tensors of one module as the file names it."""

    written: str
    parameter: str
    parts: dict[Part, tuple[str, Tensor]] = field(default_factory=dict)  # part → key, tensor


def fitted(lora: StateDict, base: Mapping[str, Tensor], path: Path, scaling: LoraScaling | None = None) -> Lora:
    """Return the changes that a LoRA makes to a model whose parameters are `base` (only names and shapes are read).

    `scaling` says how modules without an `.alpha` are scaled. CheckpointError if a key is not understood, a module is
    not in the model, half of a pair is missing or a shape does not fit: it names the key and what was found.
    """
    _refuse_other_adapters(lora, path)
    modules, left_out = _modules(lora, ModuleNames(base), path)
    scaling = scaling or LoraScaling()
    changes: list[Change] = []
    misfits: list[str] = []
    for module in modules:
        changes += _changes(module, base, path, scaling, misfits, left_out)
    if misfits:
        raise CheckpointError(f"{path}: a LoRA for a model of another size: {some_of(misfits, 2)}")
    lost = [end for end in scaling.by_module if all(_end(m, end) is None for m in modules)]
    if lost:
        raise CheckpointError(f"{path}: its alpha_pattern names {some_of(lost)}, which the LoRA does not change")
    if not changes:
        why = "; ".join(str(out) for out in left_out)
        raise CheckpointError(f"{path}: changes nothing of this model ({why})")
    return Lora(tuple(changes), tuple(left_out))


def merged(base: Mapping[str, Tensor], loras: Sequence[tuple[Lora, float]]) -> StateDict:
    """Return weights with LoRAs added at their strengths, summed in float32 and cast once to the weight's dtype."""
    by_parameter: dict[str, list[tuple[Change, float]]] = {}
    for lora, strength in loras:
        for change in lora.changes:
            by_parameter.setdefault(change.parameter, []).append((change, strength))
    return dict(base) | {name: changed(base[name], changes) for name, changes in by_parameter.items()}


def _end(module: _Module, end: str) -> str | None:
    name = bare_name(module.written)
    return end if name == end or name.endswith("." + end) else None


def _refuse_other_adapters(lora: StateDict, path: Path) -> None:
    for pattern, name in REFUSED:
        keys = [k for k in lora if pattern.search(k)]
        if keys:
            raise CheckpointError(f"{path}: is {name} ({some_of(keys, 1)}), which is not merged here; only LoRA is")
    if not any(part_of(k) for k in lora):
        what = seems_to_be(lora)
        known = f"it seems to be {what}" if what else f"there is {some_of(list(lora))}" if lora else "it is empty"
        raise CheckpointError(f"{path}: holds no LoRA (no key with .lora_A, .lora_down or .diff); {known}")
    adapters = sorted({part[2] for k in lora if (part := part_of(k)) and part[2]})
    if len(adapters) > 1:
        raise CheckpointError(f"{path}: holds several LoRAs ({some_of(adapters)}); save the one that is meant alone")
    whole = [k for k, t in lora.items() if not t.is_floating_point() and not k.endswith(".alpha")]
    if whole:
        raise CheckpointError(f"{path}: {some_of(whole, 1)} is {dtype_name(lora[whole[0]])} instead of floating point")
    endless = [k for k, t in lora.items() if not t.is_meta and not t.float().isfinite().all()]
    if endless:
        raise CheckpointError(f"{path}: holds values that are no numbers (NaN or infinite) in {some_of(endless)}")


def _modules(lora: StateDict, names: ModuleNames, path: Path) -> tuple[list[_Module], list[LeftOut]]:
    """Return a file's tensors by module of the model; unused keys must be known ones, others raise CheckpointError."""
    modules: dict[str, _Module] = {}
    strange: list[str] = []
    unknown: list[str] = []
    text: list[str] = []
    image: list[str] = []
    for key, tensor in lora.items():
        found = part_of(key)
        if TEXT_ENCODER.search(key):
            text.append(key)
        elif found is None:
            strange.append(key)
        elif (parameter := names.find(found[0])) is None:
            (image if IMAGE.search(found[0]) else unknown).append(key)
        else:
            module = modules.setdefault(parameter, _Module(found[0], parameter))
            if found[1] in module.parts:
                raise CheckpointError(f"{path}: holds {found[1]} of {parameter} twice, {some_of([key])} is the second")
            module.parts[found[1]] = (key, tensor)
    whole = [k for k in strange if k.endswith((".weight", ".bias")) and names.find(k.rpartition(".")[0])]
    if whole:
        what = f"whole weights of the model ({some_of(whole)}), which replace its own"
        raise CheckpointError(f"{path}: holds {what}; only changes are merged here: save the LoRA without them")
    if strange:
        raise CheckpointError(f"{path}: a LoRA with keys that are not understood: {some_of(strange)}")
    if unknown:
        written = list(dict.fromkeys(found[0] for k in unknown if (found := part_of(k))))
        raise CheckpointError(
            f"{path}: does not fit the base weights, {some_of(written)} {'is' if len(written) == 1 else 'are'} "
            f"missing there; {_other_model(written, names)}"
        )
    left_out = [
        LeftOut(reason, tuple(keys))
        for reason, keys in (
            ("changes of a text encoder, which stays as it is here", text),
            ("attention to a picture, which this model does not have", image),
        )
        if keys
    ]
    return list(modules.values()), left_out


def _other_model(written: list[str], names: ModuleNames) -> str:
    """Explain why modules of a LoRA are not in the model."""
    blocks = [int(m[1]) for w in written if (m := re.search(r"(?:^|[._])blocks[._](\d{1,4})[._]", w))]
    if blocks and max(blocks) >= names.blocks:
        return f"the LoRA was made for a model of at least {max(blocks) + 1} blocks, and this one has {names.blocks}"
    return "the LoRA was made for another model"


def _changes(
    module: _Module,
    base: Mapping[str, Tensor],
    path: Path,
    scaling: LoraScaling,
    misfits: list[str],
    left_out: list[LeftOut],
) -> list[Change]:
    """Return the changes of one module; shapes that do not fit are added to `misfits`."""
    changes: list[Change] = []
    parts = dict(module.parts)
    down, up, alpha = (parts.pop(part, None) for part in (Part.DOWN, Part.UP, Part.ALPHA))
    shape = base[module.parameter].shape
    if (down is None) != (up is None):
        missing, there = (Part.DOWN, up) if down is None else (Part.UP, down)
        raise CheckpointError(
            f"{path}: half of a pair, {missing} of {module.written} is missing beside {there and there[0]}"
        )
    if down is not None and up is not None:
        a, b = (
            _own(down[1]).flatten(1) if down[1].ndim > 1 else None,
            _own(up[1]).flatten(1) if up[1].ndim > 1 else None,
        )
        if a is None or b is None or not len(a) or len(a) != b.shape[1]:
            raise CheckpointError(
                f"{path}: {down[0]} is {tuple(down[1].shape)} and {up[0]} is {tuple(up[1].shape)}, "
                "no pair of one rank ([rank, in] and [out, rank])"
            )
        if module.parameter.rpartition(".")[2] != "weight" or (len(b), a.shape[1]) != (shape[0], shape[1:].numel()):
            of = f" (the width of {_WIDTHS[a.shape[1]]})" if a.shape[1] in _WIDTHS else ""
            misfits.append(f"{module.written} is {(len(b), a.shape[1])} there{of} and {tuple(shape)} in this model")
        own = None if alpha is None else _alpha(*alpha, path)
        factor = scaling.of(bare_name(module.written), len(a)) if own is None else scale(own, len(a), root=scaling.root)
        changes.append(LowRank(module.parameter, a, b, factor))
    elif alpha is not None:
        if not parts:
            raise CheckpointError(f"{path}: half of a pair, {alpha[0]} stands alone")
        left_out.append(LeftOut("an alpha, which whole differences do not have", (alpha[0],)))
    for part, (key, value) in parts.items():
        target = module.parameter
        if part is Part.BIAS:
            target = module.parameter.removesuffix("weight") + "bias"
        elif (part is Part.MODULATION) == target.endswith(".weight"):
            target = ""
        if target not in base:
            raise CheckpointError(f"{path}: {some_of([key])} changes what {module.written} does not have in this model")
        if value.numel() != base[target].numel() or value.squeeze().shape != base[target].squeeze().shape:
            misfits.append(f"{key} is {tuple(value.shape)} there and {tuple(base[target].shape)} in this model")
        changes.append(Difference(target, _own(value)))
    return changes


def _own(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 with memory of its own.

    That of a safetensors file is the file itself, which a trainer may write anew while takes use the LoRA: its values
    would change under them, and where the file became shorter the system would end the process (SIGBUS).
    """
    return tensor.to(torch.float32, copy=True)


def _alpha(key: str, value: Tensor, path: Path) -> float:
    if value.numel() != 1:
        raise CheckpointError(f"{path}: {some_of([key])} is {tuple(value.shape)} instead of one number")
    return sound_alpha(value.item(), path)
