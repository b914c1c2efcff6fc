"""Walk values made of dataclasses, mappings and sequences field by field, so that no list of fields is kept twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor


def children(value: object) -> list[tuple[str, object]]:
    """Return a value's parts with their names: fields, entries or numbered elements; a tensor has none."""
    if isinstance(value, Mapping):
        return [(str(k), v) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [(str(i), v) for i, v in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    return []


def tensors_of(value: object) -> Iterator[Tensor]:
    """Yield every tensor of a value, shared ones each time, in no order.

    A live take's snapshots are walked twice a chunk: without names and nested generators that takes half the time.
    """
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
        elif is_dataclass(value) and not isinstance(value, type):
            rest.extend(getattr(value, f.name) for f in fields(value))


def equal(a: object, b: object) -> bool:
    """Return whether two values are of one type and all their parts are equal, tensors to the bit and in their type."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    mine, others = children(a), children(b)
    if not mine and not others:
        return a == b
    return [name for name, _ in mine] == [name for name, _ in others] and all(
        equal(x, y) for (_, x), (_, y) in zip(mine, others, strict=True)
    )
