"""Settings are listed once, with their values as they are written."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model

from models.cache_shape import AnchorPolicy
from models.cue import SETTINGS, OnLora, OnSwitch, Parameter, Prompt, Setting, SinkOnSwitch
from models.recache import replaces_commit


def test_every_setting_reads_the_values_that_it_writes() -> None:
    kinds = {"on_switch": OnSwitch, "on_lora": OnLora, "sink_on_switch": SinkOnSwitch, "anchor": AnchorPolicy}
    assert set(SETTINGS) == set(kinds)
    for name, values in SETTINGS.items():
        assert values is kinds[name]
        for value in values:
            assert Parameter(name, str(value)).parsed() is value
        with pytest.raises(ValueError, match=f"{name} is one of .*, not 'sideways'"):
            Parameter(name, "sideways")


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(
        ValueError, match="no parameter is called 'speed'; there are on_switch, on_lora, sink_on_switch, anchor"
    ):
        Parameter("speed", "9")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("on_switch", "flush"), ("on_lora", "none"), ("sink_on_switch", "reanchor"), ("anchor", "fixed")],
)
def test_a_setting_takes_its_value_at_the_next_chunk(name: Setting, value: str) -> None:
    generator = tiny_model().generator
    state = generator.new_take(0, 32, 32)
    generator.draw(state, [Prompt("one"), Parameter(name, value)])
    held = {"on_switch": state.on_switch, "on_lora": state.on_lora, "sink_on_switch": state.sink_on_switch}
    assert (held | {"anchor": state.cache.policy})[name] == value


def test_a_setting_alone_leaves_the_cache_and_the_next_chunk_as_they_are() -> None:
    generator = tiny_model().generator
    drawn = []
    for cues in ([], [Parameter("sink_on_switch", "reanchor"), Parameter("on_lora", "clear")]):
        state = generator.new_take(0, 32, 32)
        generator.draw(state, [Prompt("one")])
        assert not replaces_commit(state, cues)
        drawn.append(generator.draw(state, cues))
    assert torch.equal(*drawn)
