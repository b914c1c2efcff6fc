"""Find the one set of weights in a training checkpoint, and strip the prefixes of its wrappers from the names."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoints.checkpoint_error import CheckpointError, some_of

log = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

_MARKERS = {"scaled_fp8"}  # keys that may precede the prefix of a whole model
_DEPTH = 8  # dictionaries within dictionaries
_WRAPPING_MODULES = re.compile(
    r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|_forward_module|module)\."
)
_LEADING = ("model", "diffusion_model", "generator", "generator_ema", "ema", "ema_model", "model_ema", "dit")
_OTHER_ROLES = re.compile(
    r"(?:critic|fake_score|real_score|discriminator|teacher|vae|first_stage_model|cond_stage_model|text_encoders?"
    r"|image_encoder|clip|clip_vision|conditioner)(?:_lora|_ema|_model)?"
)
_TRAINING_STATE = re.compile(
    r"(?:\w+_)?(?:optimizers?|optim|opt|lr_schedulers?|schedulers?|grad_scaler|scaler|amp)(?:_states?|_state_dict)?"
    r"|rng\w*|random\w*|args|config|cfg|hyper_parameters|hparams|callbacks|loops|loss\w*|epoch|global_steps?|steps?"
    r"|iteration|iter|num_updates|decay|ema_decay|param_shapes|buffer_names|ds_config|ds_version|_?metadata"
)


@dataclass(frozen=True)
class LeftOut:
    """Hold unused keys of a file and the reason; `usual` is true if such files normally have them."""

    reason: str
    keys: tuple[str, ...]
    usual: bool = False

    def __str__(self) -> str:
        return f"{some_of(list(self.keys))}: {self.reason}"


def note(path: Path, left_out: Iterable[LeftOut]) -> None:
    """Log the unused keys of a file, as a warning unless such files normally have them."""
    for part in left_out:
        log.log(logging.INFO if part.usual else logging.WARNING, "%s: not used are %s", path, part)


def unwrapped(loaded: object, path: Path, wrapper: str | None) -> tuple[StateDict, list[LeftOut]]:
    """Return the tensors of the one set of weights among what `torch.save` wrote, and what else was there.

    `wrapper` names the set to take where there may be several (`generator`, `generator_ema`). CheckpointError if there
    is none, or several and no wrapper.
    """
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a dictionary of weights")
    left_out: list[LeftOut] = []
    if wrapper is not None and isinstance(loaded.get(wrapper), Mapping):
        others = tuple(str(k) for k in loaded if k != wrapper)
        if others:
            left_out.append(LeftOut(f"this model is made of {wrapper!r}", others, usual=True))
        sets = _sets(loaded[wrapper], (wrapper,), left_out)
    else:
        sets = _sets(loaded, (), left_out)
        if wrapper is not None and sets and () not in sets:
            raise CheckpointError(f"{path}: has no entry {wrapper!r}; there is {_listed(sets)}")
    if not sets:
        if not loaded:
            raise CheckpointError(f"{path}: holds an empty dictionary, no weights")
        inside = ", ".join(f"{some_of([str(k)])} ({type(v).__name__})" for k, v in list(loaded.items())[:6])
        raise CheckpointError(f"{path}: holds no weights of a model; there is {inside}")
    if len(sets) > 1:
        raise CheckpointError(
            f"{path}: holds several sets of weights, {_listed(sets)}; which one is meant is not clear, "
            f"save it alone and use that file"
        )
    tensors = next(iter(sets.values()))
    return {str(k): v for k, v in tensors.items()}, left_out


def _listed(sets: Mapping[tuple[str, ...], StateDict]) -> str:
    named = [f"{'.'.join(at) or 'tensors at its top'} ({len(tensors)} tensors)" for at, tensors in sets.items()]
    return some_of(named, 6)


def _sets(node: Any, at: tuple[str, ...], left_out: list[LeftOut]) -> dict[tuple[str, ...], StateDict]:
    """Return dictionaries of tensors below `node` by their place; what is known to be no weights goes to `left_out`."""
    if len(at) > _DEPTH or not isinstance(node, Mapping):
        return {}
    tensors: StateDict = {}
    found: dict[tuple[str, ...], StateDict] = {}
    for key, value in node.items():
        name = str(key)
        if isinstance(value, Tensor):
            if value.ndim == 0 and _TRAINING_STATE.fullmatch(name):
                left_out.append(LeftOut("state of a training run", (".".join((*at, name)),), usual=True))
            else:
                tensors[name] = value
        elif isinstance(value, int | float) and name.endswith(".alpha"):  # of a LoRA
            tensors[name] = torch.tensor(float(value))
        elif _TRAINING_STATE.fullmatch(name):
            left_out.append(LeftOut("state of a training run", (".".join((*at, name)),), usual=True))
        elif isinstance(value, Mapping):
            below: list[LeftOut] = []
            inner = _sets(value, (*at, name), below)
            if inner and _OTHER_ROLES.fullmatch(name):
                left_out.append(LeftOut("another network than the generator", (".".join((*at, name)),), usual=True))
            else:
                found |= inner
                left_out += below
        else:
            left_out.append(LeftOut(f"a {type(value).__name__}, no weights", (".".join((*at, name)),)))
    return ({at: tensors} if tensors else {}) | found


def stripped(tensors: StateDict, path: Path, wrapper: str | None = None) -> tuple[StateDict, list[LeftOut]]:
    """Return tensors under the names of the model's own modules, and those of other networks in the same file.

    Prefixes of FSDP, DDP, activation checkpointing and torch.compile go wherever they stand; names that a script puts
    before a whole model (`model.`, `generator.`, `diffusion_model.`) go from the front. CheckpointError if two keys
    become one, or if two models stand in the file.
    """
    tensors = _renamed(tensors, lambda key: _WRAPPING_MODULES.sub("", key), path)
    left_out: list[LeftOut] = []
    while True:
        groups: dict[str, list[str]] = {}
        for key in tensors:
            first, dot, _ = key.partition(".")
            groups.setdefault(first if dot else "", []).append(key)
        models = [g for g in groups if g in _LEADING or _holds_wan(g, tensors)]
        if wrapper in models:
            others = [k for g in models if g != wrapper for k in groups[g]]
            left_out += [LeftOut(f"this model is made of {wrapper!r}", tuple(others), usual=True)] if others else []
            models = [g for g in models if g == wrapper]
        elif len(models) > 1:
            listed = some_of([f"{g} ({len(groups[g])} tensors)" for g in models], 6)
            raise CheckpointError(
                f"{path}: holds several sets of weights, {listed}; which one is meant is not clear, "
                f"save it alone and use that file"
            )
        bare = groups.pop("", [])
        strange = [g for g in groups if g not in (*models, *_LEADING) and not _OTHER_ROLES.fullmatch(g)]
        if not models or strange or not set(bare) <= _MARKERS:
            return tensors, left_out
        roles = [k for g in groups if _OTHER_ROLES.fullmatch(g) for k in groups[g]]
        if roles:
            left_out.append(LeftOut("another network than the generator", tuple(roles), usual=True))
        tensors = {k: tensors[k] for k in (*bare, *groups[models[0]])}
        tensors = _renamed(tensors, partial(_without, models[0] + "."), path)


def _holds_wan(prefix: str, tensors: StateDict) -> bool:
    """Return whether a whole Wan model that is not of another role stands behind a prefix, whatever it is called."""
    return bool(prefix) and f"{prefix}.patch_embedding.weight" in tensors and not _OTHER_ROLES.fullmatch(prefix)


def _without(prefix: str, key: str) -> str:
    return key.removeprefix(prefix)


def _renamed(tensors: StateDict, rename: Callable[[str], str], path: Path) -> StateDict:
    renamed: StateDict = {}
    for key, tensor in tensors.items():
        name = rename(key)
        if name in renamed:
            raise CheckpointError(f"{path}: holds {some_of([name])} twice, once as {some_of([key])}")
        renamed[name] = tensor
    return renamed
