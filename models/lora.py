"""Merge LoRAs into a transformer's weights at chunk borders, in the same storage and always from pristine weights.

Low-rank adaptation: arXiv 2106.09685. A change is never subtracted again, which would drift in half precision: the
weights of a module are its pristine ones plus the sum of all changes that hold, in float32 and in the order of names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.cue import CueError, LoraScale
from models.errors import UserError
from models.float8_weights import kept_in_float8

MOST_LORAS = 16  # of one take at a time


class LoraError(UserError):
    """Report a LoRA that cannot be merged into a model's weights."""


@dataclass(frozen=True)
class LowRank:
    """Change a parameter by scale · up @ down: `up` [out, rank], `down` [rank, in], both float32."""

    parameter: str
    down: Tensor
    up: Tensor
    scale: float

    def delta(self, shape: torch.Size, device: torch.device | None = None) -> Tensor:
        """Return the change at strength 1, float32, in the shape of the parameter."""
        return (self.scale * (self.up.to(device) @ self.down.to(device))).reshape(shape)


@dataclass(frozen=True)
class Difference:
    """Change a parameter by a tensor of its own shape, float32."""

    parameter: str
    value: Tensor

    def delta(self, shape: torch.Size, device: torch.device | None = None) -> Tensor:
        """Return the change at strength 1, float32, in the shape of the parameter."""
        return self.value.to(device).reshape(shape)


Change = LowRank | Difference


def changed(weight: Tensor, changes: Sequence[tuple[Change, float]]) -> Tensor:
    """Return a weight with changes added at their strengths, summed in float32 and cast once to the weight's dtype."""
    total = weight.float()
    for change, strength in changes:
        total = total + strength * change.delta(total.shape, weight.device)
    return total.to(weight.dtype)


class MergedLoras:
    """Hold the LoRAs of one transformer, merge those that a take asks for, and keep what is needed to undo that.

    The takes of a device share its weights: before each pass of a take `merge` makes them the take's own. Only modules
    whose changes differ are written, so takes with the same LoRAs cost nothing.
    """

    def __init__(self, transformer: nn.Module) -> None:
        """Merge into the parameters of `transformer`, whose storage stays."""
        self.parameters = dict(transformer.named_parameters())
        self._rounded = kept_in_float8(transformer)
        self._changes: dict[str, dict[str, list[Change]]] = {}  # LoRA → parameter → its changes
        self._digests: dict[str, str] = {}
        self._users: dict[str, int] = {}  # how often each was added, less how often it was dropped
        self._pristine: dict[str, Tensor] = {}  # on the CPU: of parameters that were ever changed
        self._merged: dict[str, tuple[LoraScale, ...]] = {}  # parameter → what its weights now hold
        self.active: tuple[LoraScale, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the LoRAs that takes may use."""
        return tuple(self._digests)

    def digest(self, name: str) -> str:
        """Return what identifies the content of a LoRA's file; KeyError if none has this name."""
        return self._digests[name]

    def pristine_bytes(self) -> int:
        """Return the memory that the pristine copies of changed weights take, in bytes."""
        return sum(t.nbytes for t in self._pristine.values())

    def check(self, name: str, changes: Sequence[Change]) -> None:
        """Raise LoraError if changes are no sound weights.

        The largest value that a change may have is bounded before anything is computed from it.
        """
        for change in changes:
            weight = self.parameters.get(change.parameter)
            if weight is None or not weight.is_floating_point():
                raise LoraError(f"{name}: {change.parameter} is quantised or missing, so that nothing can be merged")
            rounded = self._rounded.get(change.parameter)
            dtype = weight.dtype if rounded is None else rounded.scale.dtype
            if not _bound(change) < torch.finfo(dtype).max / 1e4:
                raise LoraError(f"{name}: its change of {change.parameter} is too large for {dtype} weights")

    def add(self, name: str, digest: str, changes: Sequence[Change]) -> None:
        """Let takes use a LoRA by its name; LoraError if another file has it, or if `check` refuses its changes."""
        if self._digests.get(name, digest) != digest:
            raise LoraError(
                f"{name}: another LoRA of this name is in use; end the sessions with it, or rename the file"
            )
        self.check(name, changes)
        by_parameter: dict[str, list[Change]] = {}
        for change in changes:
            by_parameter.setdefault(change.parameter, []).append(change)
        self._changes[name], self._digests[name] = by_parameter, digest
        self._users[name] = self._users.get(name, 0) + 1

    def drop(self, name: str) -> None:
        """Forget a LoRA, once it was dropped as often as it was added; KeyError if none has this name.

        Weights that hold it become pristine, and the copies of weights that no LoRA changes any more go.
        """
        self._users[name] -= 1
        if self._users[name]:
            return
        if any(scale.name == name for merged in self._merged.values() for scale in merged):
            self.merge(())
        del self._users[name], self._changes[name], self._digests[name]
        others = list(self._changes.values())  # one may be added meanwhile: that of an upload, as it arrives
        changed_still = {parameter for changes in others for parameter in changes}
        for parameter in self._pristine.keys() - changed_still:
            del self._pristine[parameter]
            self._merged.pop(parameter, None)

    def known(self, scales: Sequence[LoraScale]) -> None:
        """Raise CueError if a take asks for a LoRA that was not added."""
        for scale in scales:
            if scale.name not in self._changes:
                there = f"there are {', '.join(self.names)}" if self.names else "no LoRA was given"
                raise CueError(f"no LoRA is called {scale.name!r}; {there}")

    @torch.inference_mode()
    def merge(self, scales: tuple[LoraScale, ...]) -> None:
        """Make the weights pristine plus these LoRAs; `scales` are in the order of names, without zeros."""
        self.known(scales)
        self.active = scales
        for parameter in {p for scale in scales for p in self._changes[scale.name]} | self._merged.keys():
            asked = tuple(scale for scale in scales if parameter in self._changes[scale.name])
            if asked != self._merged.get(parameter, ()):
                self._write(parameter, asked)

    def _write(self, parameter: str, asked: tuple[LoraScale, ...]) -> None:
        rounded = self._rounded.get(parameter)
        weight = self.parameters[parameter] if rounded is None else rounded.held()
        if parameter not in self._pristine:
            self._pristine[parameter] = weight.detach().to("cpu", copy=True)
        pristine = self._pristine[parameter].to(weight.device)
        changes = [(c, scale.scale) for scale in asked for c in self._changes[scale.name][parameter]]
        new = changed(pristine, changes) if changes else pristine
        if rounded is None:
            weight.copy_(new)
        else:
            rounded.hold(new)
        self._merged[parameter] = asked


@dataclass(frozen=True)
class FixedLoras:
    """Hold the LoRAs that are in a model's weights for good, as in an engine's: its takes have these and no others."""

    scales: tuple[LoraScale, ...] = ()  # in the order of names, without zeros
    digests: Mapping[str, str] = field(default_factory=dict)  # name → what identifies the content of its file

    def __str__(self) -> str:
        return ", ".join(f"{lora.name}:{lora.scale:g}" for lora in self.scales)

    @property
    def content(self) -> list[tuple[str, float]]:
        """Return what the LoRAs do to weights, whatever they are called: digests and scales, sorted."""
        return sorted((self.digests[lora.name], lora.scale) for lora in self.scales)

    def require(self, scales: tuple[LoraScale, ...]) -> None:
        """Raise CueError if a take asks for other LoRAs."""
        if scales == self.scales:
            return
        if not self.scales:
            names = ", ".join(lora.name for lora in scales)
            raise CueError(f"this engine has weights of its own, and takes no LoRA ({names}); use --engine torch")
        asked = str(FixedLoras(scales)) if scales else "none"
        raise CueError(f"this engine has {self} merged for good, and the take asks for {asked}; use --engine torch")


def rescaled(present: Sequence[LoraScale], cues: Sequence[LoraScale]) -> tuple[LoraScale, ...]:
    """Return the LoRAs of a take after cues: a newer scale replaces one of the same name, and 0 takes it out.

    CueError if there would be more than MOST_LORAS.
    """
    scales: Mapping[str, float] = {lora.name: lora.scale for lora in (*present, *cues)}
    kept = tuple(LoraScale(name, scale) for name, scale in sorted(scales.items()) if scale)
    if len(kept) > MOST_LORAS:
        raise CueError(f"{len(kept)} LoRAs at a time are too many; {MOST_LORAS} are the most")
    return kept


def _bound(change: Change) -> float:
    """Return a bound of the largest absolute value of a change at strength 1."""
    if isinstance(change, Difference):
        return float(change.value.abs().max()) if change.value.numel() else 0.0
    largest = float(change.up.double().abs().max()) * float(change.down.double().abs().max())
    return abs(change.scale) * largest * len(change.down)
