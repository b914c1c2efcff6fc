"""Drawing and committing chunks neither asks a device for a value nor copies one to it: each would wait for the device.

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
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from models.cache_shape import StepKeys
from models.cue import Cue, Cut, Follow, OnSwitch, Parameter, Prompt, Recache, Recall, Region
from models.generator import Generator
from models.noise import Noise
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.source import Encoded
from models.state import TakeState
from models.transformer import CausalWanTransformer

META = torch.device("meta")
ASKING = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique")


MAKING = (torch.tensor, torch.as_tensor)  # from numbers of the host, which are copied before an operation is seen


class Guard(TorchDispatchMode):
    """Note operations that ask for a value, and those that take one with elements from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._making = GuardOfNumbers(self.found)

    def __enter__(self) -> Guard:
        self._making.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._making.__exit__(*raised)

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


class GuardOfNumbers(TorchFunctionMode):
    """Note tensors that are made on a device from numbers of the host."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self, function: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in MAKING and result.device.type != "cpu":
            self._found.append(function.__name__)
        return result


def on_meta(change: Callable[[RolloutConfig], RolloutConfig]) -> Generator:
    model = tiny_model().generator
    network = model.transformer
    assert isinstance(network, CausalWanTransformer)
    generator = Generator(
        change(model.config),
        network.to(META),
        lambda prompts: torch.empty(len(prompts), 6, 16, device=META),
        model.codec.to(META),
    )
    for prompt in ("one", "two"):  # encoded when they are given, before the chunk that they land on
        generator.text(prompt)
    return generator


def steady(generator: Generator) -> TakeState:
    """Return a take whose window is full."""
    state = generator.new_take(3, 32, 32)
    for cues in ([Prompt("one")], *[[]] * 4):
        generator.draw(state, cues)
        generator.commit(state)
    state.noise = Noise.PHILOX
    generator.noise(state, 0)  # its tables are copied to a device once
    return state


STREAM = {"chunk": 1, "first_chunk": 2, "window": 6, "sink": 3, "on_switch": OnSwitch.NONE}

WAYS: dict[str, Callable[[RolloutConfig], RolloutConfig]] = {
    "as it is": lambda c: c,
    "with a knot": lambda c: replace(c, knot=1),
    "guided": lambda c: replace(c, guidance=3.0),
    "by UniPC": lambda c: replace(c, solver="unipc", schedule=Schedule.even(3, 5.0)),
    "with its keys as steps wrote them": lambda c: replace(c, **STREAM, step_keys=StepKeys()),
    "as a stream batch": lambda c: replace(c, **STREAM, step_keys=StepKeys(8, None, batch=True)),
}


@pytest.mark.parametrize("way", WAYS)
def test_chunks_of_a_steady_take_never_wait(way: str) -> None:
    generator = on_meta(WAYS[way])
    state = steady(generator)
    with Guard() as guard:
        for _ in range(4):
            generator.draw(state)
            generator.commit(state)
    assert guard.found == []
    assert len(state.archive) == 2, "the ninth chunk is kept to be recalled"


def test_what_happens_at_known_prompts_never_waits() -> None:
    generator = on_meta(WAYS["as it is"])
    state = steady(generator)
    happens: dict[str, list[Cue]] = {
        "recache": [Prompt("two")],
        "reanchor": [Parameter("sink_on_switch", "reanchor"), Prompt("one")],
        "flush": [Parameter("on_switch", "flush"), Prompt("two")],
        "cut": [Cut(), Prompt("one")],
        "recall": [Recall(0)],
        "renewal": [Recache()],
    }
    waited: dict[str, list[str]] = {}
    for what, cues in happens.items():
        with Guard() as guard:
            generator.draw(state, cues)
            generator.commit(state)
        waited[what] = guard.found
    assert waited == {what: [] for what in happens}


def test_steps_under_a_pinned_image_never_wait() -> None:
    generator = on_meta(lambda c: replace(c, clean_pins=True))
    state = steady(generator)
    state.pinned = torch.empty(1, 4, 1, 4, 4, device=META)
    with Guard() as guard:
        generator.draw(state)
        generator.commit(state)
    assert guard.found == []


class Record:
    """Give what a record of a camera holds, in the host's memory."""

    def frames(self, source: str, first: int, count: int) -> Encoded:
        return Encoded(torch.zeros(1, 4, 3, 4, 4, dtype=torch.float16), 0.5)


def test_a_record_of_a_camera_is_followed_on_the_device_of_the_take() -> None:
    generator = on_meta(WAYS["as it is"])
    state = steady(generator)
    region = Region("1000" * 4, 4, 4)
    drawn = generator.draw(state, [Follow("a.camera", 0.6, region)], footage=Record())
    assert drawn.device == META
    assert state.source is not None
    assert state.source.newest is not None
    assert state.source.newest.latents.device == META


def test_the_guard_sees_a_value_that_is_asked_for_and_one_that_is_copied() -> None:
    with Guard() as guard:
        float(torch.ones(1).sum())
        torch.ones(3).to(META)
        torch.ones(3).nonzero()
        torch.full((3,), 2.0, device=META) * 2
        torch.tensor([1.0], device=META)
    assert guard.found == ["_local_scalar_dense", "_to_copy", "nonzero", "tensor"]
