"""Wan's modules against diffusers' `WanTransformer3DModel`: names, shapes, initial values and arithmetic."""

import subprocess
import sys

import pytest
import torch
from diffusers import WanTransformer3DModel

from models.cache_protocol import Visible
from models.rope import Rotation, rotation
from models.transformer import CausalWanTransformer
from models.wan_catalog import WAN_1_3B

TINY = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 5, "out_channels": 4,
    "text_dim": 20, "freq_dim": 32, "ffn_dim": 40, "num_layers": 2,
}  # fmt: skip


class SeesAll:
    """A cache without a past: every token sees every token of the pass."""

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor, rotation: Rotation) -> Visible:
        return Visible(rotation(key), value)


@pytest.mark.parametrize("cross_attn_norm", [True, False])
def test_one_pass_over_a_whole_clip_is_that_of_diffusers(cross_attn_norm: bool) -> None:
    settings = TINY | {"cross_attn_norm": cross_attn_norm}
    torch.manual_seed(3)
    theirs = WanTransformer3DModel(**settings).eval()
    torch.manual_seed(3)
    ours = CausalWanTransformer(**settings).eval()
    for (name, a), (other, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b), name
    for parameter in ours.parameters():  # biases and gains that are not what they begin as
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict())
    latents, timestep, words = torch.randn(1, 5, 3, 4, 6), torch.tensor([437.0]), torch.randn(1, 7, 20)
    with torch.inference_mode():
        expected = theirs(latents, timestep, words, return_dict=False)[0]
        text, turn = ours.embed_text(words), rotation(range(3), 2, 3, 24, torch.device("cpu"))
        made = ours(latents, timestep, text, turn, SeesAll())
    torch.testing.assert_close(made, expected, atol=2e-5, rtol=2e-5)


def test_weights_of_the_public_size_have_the_names_and_shapes_of_diffusers() -> None:
    with torch.device("meta"):
        ours, theirs = CausalWanTransformer(**WAN_1_3B), WanTransformer3DModel(**WAN_1_3B)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}


def test_normalisation_and_the_sinusoid_of_time_stay_float32_in_a_half_precision_network() -> None:
    settings = TINY | {"cross_attn_norm": True}
    ours, theirs = CausalWanTransformer(**settings).bfloat16(), WanTransformer3DModel(**settings).bfloat16()
    x = 100 + torch.randn(1, 3, 48)
    assert ours.norm_out(x).dtype == torch.float32
    assert torch.equal(ours.blocks[0].norm2(x), theirs.blocks[0].norm2(x))
    times = torch.tensor([0.0, 437.25, 1000.0])
    embedder, other = ours.condition_embedder, theirs.condition_embedder
    assert torch.equal(embedder.timesteps_proj(times), other.timesteps_proj(times))


def test_a_model_of_its_own_is_run_without_the_import_of_diffusers() -> None:
    code = "import sys, streaming.rollout, models.checkpoints.assemble; print('diffusers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
