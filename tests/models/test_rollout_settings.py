"""Settings are listed once: their values, how they are written, and what a new value makes useless."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import tiny_model
from torch import Tensor

from models.cache_shape import AnchorPolicy
from models.cue import SETTINGS, Invalidates, OnSwitch, Parameter, Prompt, Setting, SinkOnSwitch
from models.generator import Generator
from models.recache import replaces_commit
from models.state import TakeState


def test_every_setting_reads_the_values_that_it_writes() -> None:
    kinds = {"on_switch": OnSwitch, "sink_on_switch": SinkOnSwitch, "anchor": AnchorPolicy}
    assert set(SETTINGS) == set(kinds)
    for name, rule in SETTINGS.items():
        for value in kinds[name]:  # type: ignore[attr-defined]
            assert Parameter(name, str(value)).parsed() is value
        with pytest.raises(ValueError, match=f"{name} is one of .*, not 'sideways'"):
            rule.parse(name, "sideways")


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no parameter is called 'speed'; there are on_switch, sink_on_switch, anchor"):
        Parameter("speed", "9")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("on_switch", "flush"), ("sink_on_switch", "reanchor"), ("anchor", "fixed")]
)
def test_a_setting_takes_its_value_at_the_next_chunk(name: Setting, value: str) -> None:
    generator = tiny_model().generator
    state = generator.new_take(0, 32, 32)
    generator.draw(state, [Prompt("one"), Parameter(name, value)])
    held = {"on_switch": state.on_switch, "sink_on_switch": state.sink_on_switch, "anchor": state.cache.policy}
    assert held[name] == value


def rolled(generator: Generator, parameter: Parameter | None) -> tuple[TakeState, list[Tensor]]:
    """Draw three chunks, then one on which a parameter lands."""
    state, latents = generator.new_take(0, 32, 32), []
    for i in range(4):
        cues = [Prompt("one")] if i == 0 else [] if i < 3 or parameter is None else [parameter]
        latents.append(generator.draw(state, cues))
        assert replaces_commit(state, [parameter] if parameter else []) is (
            parameter is not None and parameter.invalidates is not Invalidates.NOTHING
        )
    return state, latents


@pytest.mark.parametrize("invalidates", Invalidates)
def test_what_a_setting_makes_useless_is_made_anew(monkeypatch: pytest.MonkeyPatch, invalidates: Invalidates) -> None:
    monkeypatch.setitem(SETTINGS, "sink_on_switch", replace(SETTINGS["sink_on_switch"], invalidates=invalidates))
    generator = tiny_model().generator
    plain, before = rolled(generator, None)
    state, latents = rolled(generator, Parameter("sink_on_switch", "reanchor"))
    assert torch.equal(latents[2], before[2])
    assert torch.equal(latents[3], before[3]) is (invalidates is Invalidates.NOTHING)  # a recache is bidirectional
    assert (state.text is not plain.text) is (invalidates is Invalidates.TEXT)
