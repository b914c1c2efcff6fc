"""Load every published layout strictly, and refuse files that do not fit with the reason in one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from conftest import TINY
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from models.catalog import POCKET
from models.checkpoints.model_files import missing_files
from models.checkpoints.weight_files import CheckpointError, as_diffusers, load_into, read
from models.transformer import CausalWanTransformer
from models.wan_catalog import WAN_1_3B

# diffusers' names → those of Wan's own repository, in the order in which they are applied
ORIGINAL = [
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("proj_out", "head.head"),
    ("attn1.to_q", "self_attn.q"),
    ("attn1.to_k", "self_attn.k"),
    ("attn1.to_v", "self_attn.v"),
    ("attn1.to_out.0", "self_attn.o"),
    ("attn1.norm_q", "self_attn.norm_q"),
    ("attn1.norm_k", "self_attn.norm_k"),
    ("attn2.to_q", "cross_attn.q"),
    ("attn2.to_k", "cross_attn.k"),
    ("attn2.to_v", "cross_attn.v"),
    ("attn2.to_out.0", "cross_attn.o"),
    ("attn2.norm_q", "cross_attn.norm_q"),
    ("attn2.norm_k", "cross_attn.norm_k"),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    (".norm2.", ".norm3."),
]


def as_original(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        if name == "scale_shift_table":
            name = "head.modulation"
        name = name.replace(".scale_shift_table", ".modulation")
        for ours, theirs in ORIGINAL:
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(2)
    return {k: v.clone() for k, v in CausalWanTransformer(**TINY).state_dict().items()}


def loads(path: Path, weights: dict[str, Tensor], wrapper: str | None = None) -> None:
    tensors = as_diffusers(read(path, wrapper))
    with torch.device("meta"):
        model = CausalWanTransformer(**TINY)
    load_into(model, tensors, path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_original_wan_in_one_safetensors_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(as_original(weights), tmp_path / "wan.safetensors")
    loads(tmp_path / "wan.safetensors", weights)


def test_diffusers_in_one_safetensors_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    loads(tmp_path / "w.safetensors", weights)


def test_a_diffusers_folder_in_two_parts(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    names = list(weights)
    parts = {"a-1-of-2.safetensors": names[:20], "a-2-of-2.safetensors": names[20:]}
    for file, keys in parts.items():
        save_file({k: weights[k] for k in keys}, tmp_path / file)
    index = {"weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (tmp_path / "a.safetensors.index.json").write_text(json.dumps(index))
    loads(tmp_path, weights)


def test_diffusers_own_save_of_the_model(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    model = WanTransformer3DModel(**TINY)
    model.load_state_dict(weights)
    model.save_pretrained(tmp_path)
    loads(tmp_path, weights)


@pytest.mark.parametrize(
    "prefix", ["", "model.", "model._fsdp_wrapped_module.", "module.", "model._orig_mod.", "model.diffusion_model."]
)
@pytest.mark.parametrize("wrapper", ["generator", "generator_ema", None])
def test_self_forcing_checkpoints(tmp_path: Path, weights: dict[str, Tensor], prefix: str, wrapper: str | None) -> None:
    named = {prefix + k: v for k, v in as_original(weights).items()}
    other = {k: v + 1 for k, v in named.items()}
    file = tmp_path / "x.pt"
    torch.save({"generator": other, "generator_ema": other} | {wrapper: named} if wrapper else named, file)
    loads(file, weights, wrapper)


def test_inner_prefixes_of_fsdp_and_checkpointing(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    named = {
        k.replace("blocks.1.", "blocks.1._fsdp_wrapped_module._checkpoint_wrapped_module."): v
        for k, v in as_original(weights).items()
    }
    torch.save({"generator": named}, tmp_path / "x.pt")
    loads(tmp_path / "x.pt", weights)


def test_what_does_not_fit_names_file_keys_and_cause(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({k: v for k, v in weights.items() if "blocks.1" not in k}, "missing blocks.1.*and 2. more.*incomplete"),
        (weights | {"extra": torch.zeros(1)}, "unexpected extra.*another version"),
        ({k: torch.zeros(3) for k in ("a", "b")}, "something else"),
        (weights | {"proj_out.bias": torch.zeros(7)}, r"proj_out.bias is \(7,\) instead of \(16,\).*another size"),
    ]
    for tensors, says in cases:
        file = tmp_path / "broken.safetensors"
        save_file(tensors, file)
        with pytest.raises(CheckpointError, match=says) as e:
            loads(file, weights)
        assert str(file) in str(e.value)
        assert "\n" not in str(e.value)


class Trainers:
    """Build what training scripts save around weights, by name: (object for torch.save, wrapper of the catalog)."""

    @staticmethod
    def of(weights: dict[str, Tensor]) -> dict[str, tuple[object, str | None]]:
        other = {k: v + 1 for k, v in weights.items()}
        moments = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}

        def named(prefix: str, tensors: dict[str, Tensor] = weights) -> dict[str, Tensor]:
            return {prefix + k: v for k, v in tensors.items()}

        critic = {"critic": other, "critic_optimizer": moments, "step": 600}
        return {
            "state_dict": ({"state_dict": weights, "epoch": 3}, None),
            "model_state_dict": ({"model_state_dict": weights, "optimizer_state_dict": moments, "loss": 0.1}, None),
            "lightning": (
                {"state_dict": named("model."), "optimizer_states": [moments], "lr_schedulers": [], "loops": {},
                 "hyper_parameters": {"width": 3}, "pytorch-lightning_version": "2.5", "global_step": 9},
                None,
            ),
            "deepspeed": (
                {"module": named("module."), "optimizer": moments, "ds_config": {}, "param_shapes": [{"a": (1,)}],
                 "buffer_names": [], "ds_version": "0.15", "global_steps": 5},
                None,
            ),
            "generator of dictionaries": ({"generator": {"model": weights}, **critic}, None),
            "generator by names": (named("generator.model.") | named("critic.", other), None),
            "generator, asked for": ({"generator": named("model."), **critic}, "generator"),
            "asked for among others": ({"generator": other, "generator_ema": weights, **critic}, "generator_ema"),
            "asked for by names": (named("generator_ema.") | named("generator.", other), "generator_ema"),
            "plain, asked for": (weights, "generator"),
            "ema": ({"ema": weights, "decay": 0.999, "num_updates": torch.tensor(3)}, None),
            "generator_ema": ({"generator_ema": named("model._fsdp_wrapped_module.")}, None),
            "compiled and wrapped": (named("_orig_mod._fsdp_wrapped_module.module.model."), None),
            "comfy, all in one": (
                named("model.diffusion_model.") | {"first_stage_model.x": torch.ones(1),
                                                   "text_encoders.umt5.y": torch.ones(1), "vae.z": torch.ones(1)},
                None,
            ),
            "a prefix of their own": (named("net."), None),
            "numbers among weights": ({"model": weights | {"version": 3, "note": "x"}}, None),
        }  # fmt: skip


@pytest.mark.parametrize("trainer", Trainers.of({}))
def test_what_trainers_put_around_weights_is_taken_off(
    tmp_path: Path, weights: dict[str, Tensor], trainer: str
) -> None:
    content, wrapper = Trainers.of(as_original(weights))[trainer]
    torch.save(content, tmp_path / "x.pt")
    loads(tmp_path / "x.pt", weights, wrapper)


def test_what_is_left_out_of_a_file_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"generator": {"a": ONE}, "critic": {"a": ONE}, "optimizer": {}, "odd": [1]}, tmp_path / "x.pt")
    with caplog.at_level(logging.INFO):
        read(tmp_path / "x.pt")
    assert [r.levelname for r in caplog.records if "odd" in r.message] == ["WARNING"]
    for note in (
        "critic: another network than the generator",
        "optimizer: state of a training run",
        "odd: a list, no weights",
    ):
        assert note in caplog.text


ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("content", "wrapper", "says"),
    [
        ({"generator": {"a": ONE}}, "generator_ema", "no entry 'generator_ema'; there is generator (1 tensors)"),
        ({"generator": {"a": ONE}, "generator_ema": {"a": ONE}}, None, "generator (1 tensors), generator_ema (1"),
        ({"model": {"a": ONE}, "ema": {"shadow": {"a": ONE}}}, None, "model (1 tensors), ema.shadow (1 tensors)"),
        ({"generator.a": ONE, "generator_ema.a": ONE}, None, "several sets of weights, generator (1 tensors)"),
        ({"high": {"a": ONE}, "low": {"a": ONE}}, None, "high (1 tensors), low (1 tensors); which one is meant"),
        (
            {f"{noise}.patch_embedding.weight": ONE for noise in ("high_noise", "low_noise")},
            None,
            "high_noise (1 tensors), low_noise (1 tensors)",
        ),
        ({"model.a": ONE, "module.model.a": ONE}, None, "holds model.a twice"),
        ([1, 2], None, "holds a list, not a dictionary"),
        (ONE, None, "holds a Tensor"),
        ({}, None, "an empty dictionary"),
        ({"epoch": 3, "optimizer": {"state": {0: {"a": ONE}}}}, None, "no weights of a model; there is epoch (int)"),
        ({"generator": [ONE]}, None, "no weights of a model; there is generator (list)"),
        ({"line\nbreak": 3}, None, r"'line\nbreak' (int)"),
    ],
)
def test_a_choice_between_sets_of_weights_is_refused(
    tmp_path: Path, content: object, wrapper: str | None, says: str
) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as e:
        read(tmp_path / "x.pt", wrapper)
    assert says in str(e.value)
    assert str(e.value).isprintable()


def test_a_dictionary_within_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {"a": ONE}
    content["model"] = content
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="several sets of weights"):
        read(tmp_path / "x.pt")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read(tmp_path / "nothing.pt")


def wan(width: int, layers: int, channels: int, **more: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the tensors of a Wan model, in its own naming and without data, that determine its size."""
    shapes = {"patch_embedding.weight": (width, channels, 1, 2, 2), "head.modulation": (1, 2, width)}
    shapes |= {f"blocks.{i}.self_attn.q.weight": (width, width) for i in range(layers)}
    shapes |= {k.replace("__", "."): v for k, v in more.items()}
    return {k: torch.empty(shape, device="meta") for k, shape in shapes.items()}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (wan(5120, 40, 16), "Wan 14B text-to-video (2.1, 2.2 or Krea) (16 channels in, 40 layers of width 5120)"),
        (wan(5120, 40, 36), "Wan 14B image-to-video (2.1 or 2.2)"),
        (wan(5120, 40, 36, img_emb__proj__1__weight=(8, 8)), "with attention to a picture (image-to-video)"),
        (wan(3072, 30, 48), "Wan 2.2 TI2V 5B (LongLive 2.0)"),
        (wan(1536, 30, 36), "Wan 2.1 Fun 1.3B image-to-video"),
        (wan(1536, 30, 16, vace_blocks__0__before_proj__weight=(8, 8)), "1.3B text-to-video (Self-Forcing, LongLive"),
        (wan(1536, 30, 16, vace_blocks__0__before_proj__weight=(8, 8)), "with VACE"),
        ({"vace_blocks.0.before_proj.weight": ONE}, "a module of VACE alone"),
        (wan(1024, 7, 12), "a Wan model of 12 channels in, 7 layers of width 1024"),
        ({"decoder.middle.0.residual.0.gamma": ONE}, "a Wan video codec (VAE)"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": ONE}, "a T5 text encoder"),
        ({"diffusion_model.blocks.0.self_attn.q.lora_A.weight": ONE}, "a LoRA, which goes on top of a model"),
        ({"base_model.model.blocks.0.self_attn.q.base_layer.weight": ONE}, "with its LoRA not merged"),
        ({"double_blocks.0.img_attn.qkv.weight": ONE}, "a FLUX or HunyuanVideo model"),
    ],
)
def test_weights_of_another_model_are_called_what_they_seem_to_be(tensors: dict[str, Tensor], says: str) -> None:
    with torch.device("meta"):
        model = CausalWanTransformer(**WAN_1_3B)
    with pytest.raises(CheckpointError) as e:
        load_into(model, as_diffusers(tensors), Path("w.safetensors"))
    assert "this seems to be " in str(e.value)
    assert says in str(e.value)
    assert "what is wanted is Wan 2.1 1.3B text-to-video" in str(e.value)
    assert len(str(e.value)) < 800


def test_places_that_deepspeed_left_empty_are_recognised(weights: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"zero_to_fp32\.py"):
        load_into(CausalWanTransformer(**TINY), weights | {"proj_out.bias": torch.empty(0)}, Path("w"))


def test_rotary_tables_are_not_weights_and_two_namings_do_not_mix(weights: dict[str, Tensor]) -> None:
    assert set(as_diffusers(weights | {"rope.freqs_cos": ONE, "freqs": ONE})) == set(weights)
    with pytest.raises(CheckpointError, match="twice"):
        as_diffusers(weights | as_original(weights))


def test_a_model_whose_folders_are_links_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("codec", "transformer"):
        (tmp_path / "elsewhere" / f"{name}.safetensors").touch()
    (tmp_path / "models").mkdir()
    assert len(missing_files(POCKET, tmp_path / "models")) == 2
    (tmp_path / "models" / "pocket").symlink_to(tmp_path / "elsewhere")
    assert missing_files(POCKET, tmp_path / "models") == []
