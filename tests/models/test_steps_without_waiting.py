"""Denoising steps neither ask a device for a value nor copy one to it: each of these would wait for the device.

Takes are drawn on torch's `meta` device, which has no values. What would wait on a GPU is an error there, or a copy
between devices that the guard sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import tiny_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.generator import Generator
from models.noise import Noise
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.state import TakeState
from models.transformer import CausalWanTransformer

META = torch.device("meta")
ASKING = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique")


class Guard(TorchDispatchMode):
    """Note operations that ask for a value, and those that take a tensor with elements from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        result = operation(*args, **(kwargs or {}))
        made = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        name = operation.overloadpacket.__name__
        if name in ASKING or len({t.device for t in (*given, *made) if t.ndim}) > 1:
            self.found.append(name)
        return result


def on_meta(change: Callable[[RolloutConfig], RolloutConfig]) -> Generator:
    model = tiny_model().generator
    network = model.transformer
    assert isinstance(network, CausalWanTransformer)
    return Generator(
        change(model.config),
        network.to(META),
        lambda prompts: torch.empty(len(prompts), 6, 16, device=META),
        model.codec,
    )


def steady(generator: Generator) -> TakeState:
    """Return a take whose window is full."""
    state = generator.new_take(3, 32, 32, Noise.PHILOX)
    state.prompt, state.text = "one", generator.text("one")
    for _ in range(5):
        state.append(denoised(generator, state)[:, :, :3], None, 12)
        generator.commit(state)
    return state


def denoised(generator: Generator, state: TakeState) -> Tensor:
    assert state.text is not None
    rotation = state.cache.begin(state.index, 3)
    x = generator.denoise(state, state.text, rotation, state.cache)
    state.cache.end()
    return x


WAYS: dict[str, Callable[[RolloutConfig], RolloutConfig]] = {
    "as it is": lambda c: c,
    "with a knot": lambda c: replace(c, knot=1),
    "guided": lambda c: replace(c, guidance=3.0),
    "by UniPC": lambda c: replace(c, solver="unipc", schedule=Schedule.even(3, 5.0)),
}


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_steps_of_a_steady_take_never_wait(way: str) -> None:
    generator = on_meta(WAYS[way])
    state = steady(generator)
    rotation, text = state.cache.begin(state.index, 3), state.text
    assert text is not None
    with Guard() as guard:
        generator.denoise(state, text, rotation, state.cache)
    assert guard.found == []


@torch.inference_mode()
def test_steps_under_a_pinned_image_never_wait() -> None:
    generator = on_meta(lambda c: replace(c, clean_pins=True))
    state = steady(generator)
    state.pinned = torch.empty(1, 4, 1, 4, 4, device=META)
    rotation, text = state.cache.begin(state.index, 3), state.text
    assert text is not None
    with Guard() as guard:
        generator.denoise(state, text, rotation, state.cache)
    assert guard.found == []


def test_the_guard_sees_a_value_that_is_asked_for_and_one_that_is_copied() -> None:
    with Guard() as guard:
        float(torch.ones(1).sum())
        torch.ones(3).to(META)
        torch.ones(3).nonzero()
        torch.full((3,), 2.0, device=META) * 2
    assert guard.found == ["_local_scalar_dense", "_to_copy", "nonzero"]
