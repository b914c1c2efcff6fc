"""Weights that are kept in float8 take half the memory of bfloat16, and everything else goes on as before."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import tiny_model
from torch import nn

from models.catalog import POCKET
from models.checkpoints.assemble import ASSETS, load
from models.cue import Cut, LoraScale, Prompt
from models.float8_weights import Float8Linear, keep_in_float8, kept_in_float8
from models.generator import Generator
from models.lora import LoraError, LowRank, MergedLoras
from models.transformer import CausalWanTransformer
from streaming.rollout import record_of

CPU = torch.device("cpu")


def made(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(64, 32)


def rounded_tiny() -> tuple[Generator, Generator]:
    """Return a tiny model with rounded weights, and the same one without."""
    model = tiny_model()
    network = copy.deepcopy(model.generator.transformer)
    assert isinstance(network, CausalWanTransformer)
    keep_in_float8(network)
    config, encode = model.generator.config, model.generator._prompts.encode
    rounded = Generator(config, network, encode, model.generator.codec, loras=MergedLoras(network))
    return rounded, model.generator


def latents(generator: Generator) -> torch.Tensor:
    state, drawn = generator.new_take(0, 32, 32), []
    for cues in ([Prompt("one")], [], [Prompt("two")], [], [], [Cut()], []):
        drawn.append(generator.draw(state, cues))
        generator.commit(state)
    return torch.cat(drawn, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_weights_are_rounded_to_four_bits_of_whatever_size_they_are(dtype: torch.dtype, size: float) -> None:
    linear = made().to(dtype)
    with torch.no_grad():
        linear.weight *= size * torch.logspace(0, -4, len(linear.weight))[:, None]  # rows of very different sizes
        linear.weight[3] = 0
    layer = Float8Linear(linear)
    largest = linear.weight.float().abs().amax(1, keepdim=True)
    error = (layer.held().float() - linear.weight.float()).abs()
    assert (error <= (linear.weight.float().abs() / 16).maximum(largest * 2**-17)).all()
    assert (layer.held()[3] == 0).all()
    x = torch.randn(5, 64).to(dtype)
    exact = nn.functional.linear(x, layer.held(), linear.bias)
    torch.testing.assert_close(layer(x), exact, rtol=2e-2, atol=2e-2 * size)
    assert layer(x).dtype == dtype


def test_what_float8_can_hold_is_held_exactly() -> None:
    linear = made()
    layer = Float8Linear(linear)
    with torch.no_grad():
        linear.weight.copy_(layer.held())
    again = Float8Linear(linear)
    assert torch.equal(again.held(), linear.weight)


def test_blocks_take_half_the_memory_and_the_rest_stays_as_it_is() -> None:
    model = tiny_model()
    network = copy.deepcopy(model.generator.transformer).to(torch.bfloat16)  # type: ignore[attr-defined]
    before = {name: (p.dtype, p.nbytes) for name, p in network.named_parameters()}
    keep_in_float8(network)
    rounded = kept_in_float8(network)
    assert len(rounded) == len(network.blocks) * 10
    for name, parameter in network.named_parameters():
        dtype, size = before[name]
        assert (parameter.dtype, parameter.nbytes) == (
            (torch.float8_e4m3fn, size // 2) if name in rounded else (dtype, size)
        )
    assert network.dtype == torch.bfloat16


def test_takes_go_on_through_switches_and_cuts_almost_as_without_rounding() -> None:
    rounded, exact = rounded_tiny()
    a, b = latents(rounded), latents(exact)
    assert 0 < float((a - b).norm() / b.norm()) < 0.1
    assert torch.equal(latents(rounded), a)


def test_loras_are_merged_into_rounded_weights_and_taken_out_to_the_bit() -> None:
    rounded, exact = rounded_tiny()
    name = "blocks.0.attn1.to_q.weight"
    change = LowRank(name, torch.randn(4, 48), torch.randn(48, 4), 0.05)
    for generator in (rounded, exact):
        assert generator.loras is not None
        generator.loras.add("style", "digest", [change])
    network = rounded.transformer
    assert isinstance(network, CausalWanTransformer)
    layer, before = kept_in_float8(network)[name], latents(rounded)
    plain, bits = layer.held(), layer.weight.view(torch.uint8).clone()
    assert rounded.loras is not None
    rounded.loras.merge((LoraScale("style", 1.0),))
    wanted = plain + change.delta(plain.shape)
    assert float((layer.held() - wanted).norm() / wanted.norm()) < 0.04
    rounded.loras.merge(())
    assert torch.equal(layer.weight.view(torch.uint8), bits)
    assert torch.equal(latents(rounded), before)


def test_a_lora_that_is_too_large_for_rounded_weights_is_refused() -> None:
    rounded, _ = rounded_tiny()
    change = LowRank("blocks.0.attn1.to_q.weight", torch.full((4, 48), 1e20), torch.full((48, 4), 1e20), 1.0)
    assert rounded.loras is not None
    with pytest.raises(LoraError, match="too large for"):
        rounded.loras.check("style", [change])


def test_a_loaded_model_says_in_its_record_how_its_weights_are_kept() -> None:
    plain, rounded = (load(POCKET, ASSETS, CPU, torch.float32, float8=float8) for float8 in (False, True))
    assert "storage" not in record_of(plain, CPU)
    assert record_of(rounded, CPU)["storage"] == "float8"
    assert rounded.fingerprint == plain.fingerprint
