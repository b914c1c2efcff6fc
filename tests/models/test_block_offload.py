"""Blocks that wait in the host's memory predict what they do on the device, and only two are there at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import TINY, tiny_model
from torch import Tensor

from models.block_offload import PLACES, OffloadedBlocks
from models.cue import Cue, Cut, LoraScale, Parameter, Prompt, Recall
from models.float8_weights import keep_in_float8
from models.generator import Generator
from models.lora import LowRank, MergedLoras
from models.transformer import CausalWanTransformer
from models.wan_network import WanTransformerBlock

CPU = torch.device("cpu")
CUES: dict[int, list[Cue]] = {
    0: [Prompt("one")],
    3: [Prompt("two")],
    6: [LoraScale("red", 1.5)],
    8: [Cut(), Prompt("three")],
    10: [Parameter("on_switch", "flush"), Prompt("four")],
    12: [Recall(0)],
}


def network_of(generator: Generator) -> CausalWanTransformer:
    assert isinstance(generator.transformer, CausalWanTransformer)
    return generator.transformer


def pair(*, float8: bool) -> tuple[Generator, Generator]:
    """Return a tiny model, and the same one with its blocks offloaded."""
    here = tiny_model(knot=1).generator
    if float8:
        keep_in_float8(network_of(here))
    away = copy.deepcopy(network_of(here))
    away.offload_blocks(CPU)
    return here, here.run_by(away)


def drawn(generator: Generator) -> Tensor:
    """Return the latents of a take with switches of every way, a cut, a recall and a LoRA that comes in."""
    network = network_of(generator)
    name = "blocks.1.attn1.to_q.weight"
    side = network.config.width
    make = torch.Generator().manual_seed(1)
    change = LowRank(name, torch.randn(2, side, generator=make), torch.randn(side, 2, generator=make), 0.2)
    generator.loras = MergedLoras(network)
    generator.loras.add("red", "digest", [change])
    state, found = generator.new_take(3, 32, 32), list[Tensor]()
    for chunk in range(15):
        found.append(generator.draw(state, CUES.get(chunk, [])))
        generator.commit(state)
    return torch.cat(found, 2)


@pytest.mark.parametrize("float8", [False, True])
def test_a_take_is_the_same_bit_for_bit(float8: bool) -> None:
    here, away = pair(float8=float8)
    assert torch.equal(drawn(here), drawn(away))


def blocks() -> list[WanTransformerBlock]:
    network = CausalWanTransformer(**TINY | {"num_layers": 5}).requires_grad_(requires_grad=False)
    return list(network.layers())


def test_each_block_is_on_the_device_in_its_turn_and_no_more_than_two_are() -> None:
    own = blocks()
    first = [block.attn1.to_q.weight.clone() for block in own]
    offloaded, places = OffloadedBlocks(own, CPU), set[int]()
    held = [block.attn1.to_q.weight.data_ptr() for block in own]
    for number, block in enumerate(offloaded):
        assert block is own[number]
        assert torch.equal(block.attn1.to_q.weight, first[number])
        places.add(block.attn1.to_q.weight.data_ptr())
        others = [b.attn1.to_q.weight.data_ptr() for b in own if b is not block]
        assert others == [at for n, at in enumerate(held) if n != number], "all others lie in the host's memory"
    assert len(places) == PLACES
    assert places.isdisjoint(held)


def test_a_pass_that_ends_early_leaves_the_block_in_the_hosts_memory_and_the_next_begins_with_the_first() -> None:
    offloaded = OffloadedBlocks(own := blocks(), CPU)
    held = [block.attn1.to_q.weight.data_ptr() for block in own]
    turns = iter(offloaded)
    next(turns), next(turns)
    turns.close()  # type: ignore[attr-defined]
    assert [block.attn1.to_q.weight.data_ptr() for block in own] == held
    assert next(iter(offloaded)) is own[0]


def test_a_change_of_weights_between_passes_is_seen_in_the_next() -> None:
    offloaded = OffloadedBlocks(own := blocks(), CPU)
    for _ in offloaded:
        pass
    own[3].attn1.to_q.weight.data.fill_(7)
    assert [float(block.attn1.to_q.weight.max()) == 7 for block in offloaded] == [False, False, False, True, False]
