"""Merge LoRAs of every published style as their references do, and refuse others by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoints.lora import Lora, fitted, merged
from models.checkpoints.lora_file import read_lora
from models.checkpoints.lora_scaling import LoraScaling
from models.checkpoints.wan_names import diffusers_name, original_name
from models.checkpoints.weight_files import CheckpointError, as_diffusers

Tensors = dict[str, Tensor]
TOLERANCE = 2e-6


def _golden() -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensors], Tensors]:
    with safe_open(Path(__file__).parents[1] / "golden" / "lora.safetensors", "pt") as f:
        facts = f.metadata()
        groups: dict[str, Tensors] = {}
        base: Tensors = {}
        for key in f.keys():  # noqa: SIM118
            if key.startswith("base."):
                base[key.removeprefix("base.")] = f.get_tensor(key)
            else:
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = f.get_tensor(key)
    return json.loads(facts["styles"]), json.loads(facts["original_to_diffusers"]), groups, base


STYLES, NAMES, GROUPS, BASE = _golden()
SINGLE = [s for s in STYLES if "loras" not in STYLES[s]]


def tensors_of(style: str) -> Tensors:
    return GROUPS[f"lora.{STYLES[style].get('lora_of', style)}"]


def lora_of(style: str, base: Tensors, folder: Path) -> Lora:
    """Write the style's LoRA with its header to a file, and read it again."""
    path = folder / f"{style}.safetensors"
    save_file(tensors_of(style), path, STYLES[style].get("header"))
    file = read_lora(path)
    scaling = LoraScaling(STYLES[style]["alpha"]) if "alpha" in STYLES[style] else file.scaling
    return fitted(file.tensors, base, path, scaling)


def assert_as_expected(weights: Tensors, style: str) -> None:
    expected = GROUPS[f"expected.{style}"]
    for name, tensor in weights.items():
        name = original_name(name)
        assert torch.allclose(tensor, expected.get(name, BASE[name]), rtol=0, atol=TOLERANCE), name
    assert any(not torch.equal(expected[n], BASE[n]) for n in expected)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize("style", SINGLE)
def test_every_style_gives_its_references_weights(style: str, naming: str, tmp_path: Path) -> None:
    base = BASE if naming == "original" else as_diffusers(BASE)
    lora = lora_of(style, base, tmp_path)
    assert_as_expected(merged(base, [(lora, STYLES[style]["strength"])]), style)


def test_two_loras_add_up(tmp_path: Path) -> None:
    loras = [(lora_of(style, BASE, tmp_path), strength) for style, strength in STYLES["two"]["loras"]]
    assert_as_expected(merged(BASE, loras), "two")


def test_a_lora_stays_as_it_was_read_while_its_file_is_written_anew(tmp_path: Path) -> None:
    module = next(name.removesuffix(".weight") for name, weight in BASE.items() if weight.ndim == 2)
    rows, columns = BASE[f"{module}.weight"].shape
    path = tmp_path / "w.safetensors"
    pair = {f"{module}.lora_A.weight": torch.ones(4, columns), f"{module}.lora_B.weight": torch.ones(rows, 4)}
    save_file(pair | {f"{module}.diff": torch.ones(rows, columns)}, path)
    lora = fitted(read_lora(path).tensors, BASE, path)
    with path.open("r+b") as file:  # as a trainer does that saves its next epoch; a shorter one would end the process
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        file.write(bytes(path.stat().st_size - file.tell()))
    assert [change.delta(torch.Size((rows, columns))).unique().tolist() for change in lora.changes] == [[4.0], [1.0]]


def test_names_translate_both_ways() -> None:
    assert {name: diffusers_name(name) for name in BASE} == NAMES
    assert {name: original_name(name) for name in NAMES.values()} == {v: k for k, v in NAMES.items()}


def test_keys_for_a_picture_are_left_out_with_the_reason(tmp_path: Path) -> None:
    left_out = lora_of("image_keys", BASE, tmp_path).left_out
    assert [out.reason for out in left_out] == ["attention to a picture, which this model does not have"]
    assert len(left_out[0].keys) == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("loha", "LoHa"),
        ("lokr", "LoKr"),
        ("dora", "DoRA"),
        ("wrong_size", "another size: diffusion_model.blocks.0.self_attn.q is (48, 48) there and (24, 24)"),
        ("half_a_pair", "lora_B (or lora_up) of diffusion_model.blocks.0.self_attn.q is missing"),
        ("unknown_block", "at least 16 blocks, and this one has 12"),
        ("no_lora", "holds no LoRA"),
    ],
)
def test_what_is_no_lora_of_this_model_is_refused(name: str, says: str) -> None:
    with pytest.raises(CheckpointError) as e:
        fitted(GROUPS[f"refuse.{name}"], BASE, Path("x.safetensors"))
    assert says in str(e.value)
    assert "\n" not in str(e.value)


PAIR = {"q.lora_A.weight": torch.ones(4, 24), "q.lora_B.weight": torch.ones(24, 4)}
AT = "diffusion_model.blocks.0.self_attn."


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"q.strange": torch.ones(1)}, "not understood"),
        ({"q.lora_A.scale": torch.ones(1)}, "not understood"),
        ({"k.lora_A.weight": torch.ones(4, 5120), "k.lora_B.weight": torch.ones(5120, 4)}, "the width of Wan 14B"),
        ({"q.alpha": torch.tensor(float("nan"))}, "no numbers (NaN or infinite)"),
        ({"q.alpha": torch.tensor(-4.0)}, "no sensible number"),
        ({"q.alpha": torch.ones(3)}, "instead of one number"),
        ({"k.alpha": torch.tensor(4.0)}, "stands alone"),
        ({"q.lora_B.weight": torch.ones(24, 8)}, "no pair of one rank"),
        ({"q.lora_A.weight": torch.ones(4)}, "no pair of one rank ([rank, in] and [out, rank])"),
        ({"q.bias": torch.ones(24)}, "holds whole weights of the model (diffusion_model.blocks.0.self_attn.q.bias)"),
        ({"norm_q.weight": torch.ones(24)}, "self_attn.norm_q.weight), which replace its own"),
        ({"norm_q.b_norm": torch.ones(24)}, "does not have"),
        ({"norm_q.w_norm": torch.ones(48)}, "norm_q.w_norm is (48,) there and (24,) in this model"),
        ({"q.lora_A.weight": torch.full((4, 24), float("inf"))}, "NaN or infinite"),
        ({"q.lora_A.weight": torch.ones(4, 24, dtype=torch.int8)}, "int8 instead of floating point"),
        ({"q.lora_down.weight": torch.ones(4, 24)}, "twice"),
        ({"q.lora_A.bias": torch.ones(4)}, "biases"),
        ({"k.lora_A.other.weight": torch.ones(4, 24), "q.lora_A.one.weight": torch.ones(4, 24)}, "several LoRAs"),
        ({"q.base_layer.weight": torch.ones(24, 24)}, "not merged"),
        ({"q.lora_magnitude_vector.default.weight": torch.ones(24)}, "DoRA"),
        ({"q.oft_blocks": torch.ones(24)}, "OFT"),
        ({"q.lora_mid.weight": torch.ones(4, 4)}, "LoCon"),
        ({"q.set_weight": torch.ones(24, 24)}, "set_weight"),
        ({"norm_q.diff_b": torch.ones(24)}, "does not have"),
        ({"q.diff": torch.ones(12, 24)}, "another size"),
        ({"q.diff_m": torch.ones(1, 6, 24)}, "does not have"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_by_name(more: Tensors, says: str) -> None:
    with pytest.raises(CheckpointError) as e:
        fitted({AT + k: v for k, v in (PAIR | more).items()}, BASE, Path("x.safetensors"))
    assert says in str(e.value)


@pytest.mark.parametrize(
    "text", ["lora_te_text_model_q.lora_down.weight", "text_encoder.q.lora_A.weight", "lora_te1_x.alpha"]
)
def test_changes_of_a_text_encoder_are_noted_and_alone_refused(text: str) -> None:
    lora = fitted({AT + k: v for k, v in PAIR.items()} | {text: torch.ones(1)}, BASE, Path("x"))
    assert "text encoder" in str(lora.left_out[0])
    with pytest.raises(CheckpointError, match="changes nothing of this model"):
        fitted({text: torch.ones(1)}, BASE, Path("x"))


@pytest.mark.parametrize(("weight", "bias"), [("diff", "diff_b"), ("w_norm", "b_norm")])
@pytest.mark.parametrize("prefix", ["diffusion_model.blocks.0.", "lora_unet_blocks_0_"])
def test_norms_and_biases_are_changed_by_differences_of_one_dimension(prefix: str, weight: str, bias: str) -> None:
    """Expect LyCORIS' names for norms to do the same as those of LightX2V for all modules."""
    shift = torch.arange(24.0)
    lora = {f"{prefix}norm3.{weight}": shift, f"{prefix}norm3.{bias}": -shift}
    weights = merged(BASE, [(fitted(lora, BASE, Path("x")), 0.5)])
    assert torch.equal(weights["blocks.0.norm3.weight"], BASE["blocks.0.norm3.weight"] + 0.5 * shift)
    assert torch.equal(weights["blocks.0.norm3.bias"], BASE["blocks.0.norm3.bias"] - 0.5 * shift)


def test_no_alpha_and_an_alpha_of_zero_scale_by_one() -> None:
    base = {"blocks.0.self_attn.q.weight": torch.zeros(24, 24)}
    for more in ({}, {"q.alpha": torch.tensor(0.0)}):
        lora = {AT + k: v for k, v in (PAIR | more).items()}
        assert torch.equal(
            merged(base, [(fitted(lora, base, Path("x")), 1.0)])["blocks.0.self_attn.q.weight"],
            torch.full((24, 24), 4.0),
        )


def test_an_alpha_without_a_rank_of_its_own_counts_by_the_module() -> None:
    base = {"blocks.0.self_attn.q.weight": torch.zeros(24, 24)}
    lora = {AT + k: v for k, v in (PAIR | {"q.alpha": torch.tensor(1.0)}).items()}
    merged_weight = merged(base, [(fitted(lora, base, Path("x"), LoraScaling(100)), 1.0)])[
        "blocks.0.self_attn.q.weight"
    ]
    assert torch.equal(merged_weight, torch.ones(24, 24))  # 1/4 of the product, which is 4
    assert torch.equal(
        merged(base, [(fitted(lora, base, Path("x")), 2.0)])["blocks.0.self_attn.q.weight"], 2 * merged_weight
    )


def test_the_sum_is_rounded_once() -> None:
    base = {"blocks.0.self_attn.q.weight": torch.ones(24, 24, dtype=torch.bfloat16)}
    pair = {AT + k: v for k, v in PAIR.items()}
    lora = fitted(pair, base, Path("x"))
    step = 2.0**-11  # a quarter of what bfloat16 can add to 1; each alone is rounded away
    twice = merged(base, [(lora, step), (lora, step)])["blocks.0.self_attn.q.weight"]
    assert torch.equal(twice, (torch.ones(24, 24) + 8 * step).bfloat16())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"r": 4, "lora_alpha": 8}, 8.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 16.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"self_attn.q": 2}}, 2.0),
    ],
)
def test_pefts_folder_says_how_its_lora_is_scaled(tmp_path: Path, config: dict[str, Any], expected: float) -> None:
    tensors = {"base_model.model.blocks.0.self_attn." + k: v for k, v in PAIR.items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | config))
    file = read_lora(tmp_path)
    base = {"blocks.0.self_attn.q.weight": torch.zeros(24, 24)}
    weights = merged(base, [(fitted(file.tensors, base, file.path, file.scaling), 1.0)])
    assert torch.equal(weights["blocks.0.self_attn.q.weight"], torch.full((24, 24), expected))


def test_of_pefts_folder_the_safetensors_file_is_read_and_not_the_pickle(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "adapter_model.bin")
    assert read_lora(tmp_path).path.name == "adapter_model.bin"
    save_file({AT + k: v for k, v in PAIR.items()}, tmp_path / "adapter_model.safetensors")
    assert read_lora(tmp_path).path.name == "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[]", "no table"),
        ("{", "no JSON"),
        ('{"peft_type": "LOHA"}', "LOHA"),
        ('{"use_dora": true}', "DoRA"),
        ('{"lora_alpha": "x"}', "no sensible number"),
        ('{"lora_alpha": 1e400}', "no sensible number"),
        ('{"alpha_pattern": [1]}', "no table of modules"),
        ('{"alpha_pattern": {"(a+)+$": 1}}', "by a pattern"),
        ('{"fan_in_fan_out": true}', "transposed"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(tmp_path: Path, config: str, says: str) -> None:
    save_file({AT + k: v for k, v in PAIR.items()}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(CheckpointError) as e:
        read_lora(tmp_path)
    assert says in str(e.value)


def test_an_alpha_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"names self_attn\.z"):
        fitted({AT + k: v for k, v in PAIR.items()}, BASE, Path("x"), LoraScaling(4, {"self_attn.z": 2.0}))


def test_python_numbers_as_alphas_of_a_pickle_are_used(tmp_path: Path) -> None:
    torch.save({AT + k: v for k, v in PAIR.items()} | {AT + "q.alpha": 2}, tmp_path / "lora.pt")
    file = read_lora(tmp_path / "lora.pt")
    assert fitted(file.tensors, BASE, file.path, file.scaling).changes[0].delta(torch.Size((24, 24)))[0, 0] == 2


def test_whole_weights_in_place_of_a_lora_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"holds no LoRA.*16 channels in, 12 layers of width 24"):
        fitted(BASE, BASE, Path("x"))


WORDS = st.sampled_from((
    "blocks", "0", "1", "self_attn", "q", "norm3", "head", "modulation", "weight", "bias", "lora_A", "lora_B",
    "lora_down", "alpha", "diff", "w_norm", "diff_m", "default", "lora_unet", "hada_w1_a", "transformer", "base_model",
    "model", "", "é",
))  # fmt: skip
SHAPES = st.sampled_from([(), (1,), (0,), (24,), (4, 24), (24, 4), (24, 24), (1, 6, 24), (4, 0), (2, 3, 4, 5)])


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.lists(WORDS, max_size=7).map(".".join),
        st.tuples(SHAPES, st.sampled_from([torch.float32, torch.int8, torch.bool, torch.float8_e4m3fn])),
        max_size=8,
    )
)
def test_no_names_and_shapes_raise_anything_but_a_line(keys: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    lora = {k: torch.ones(shape).to(dtype) for k, (shape, dtype) in keys.items()}
    refused = ""
    try:
        merged(BASE, [(fitted(lora, BASE, Path("x")), 1.0)])
    except CheckpointError as e:
        refused = str(e)
    assert "\n" not in refused
