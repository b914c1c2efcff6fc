"""Every published layout loads strictly; what does not fit gets one line that says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from models.catalog import POCKET
from models.checkpoints.assemble import missing_files
from models.checkpoints.weight_files import CheckpointError, as_diffusers, load_into, read, with_lora
from models.transformer import CausalWanTransformer

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
    model = CausalWanTransformer(**TINY)
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


def test_a_lora_is_merged_in_float32(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    base = {k: v.bfloat16() for k, v in as_original(weights).items()}
    a, b = torch.randn(4, 48), torch.randn(48, 4)
    lora = {
        "base_model.model.blocks.0.self_attn.q.lora_A.default.weight": a,
        "base_model.model.blocks.0.self_attn.q.lora_B.default.weight": b,
    }
    merged = with_lora(base, lora, tmp_path / "lora.pt")
    expected = (base["blocks.0.self_attn.q.weight"].float() + b @ a).bfloat16()
    assert torch.equal(merged["blocks.0.self_attn.q.weight"], expected)
    assert torch.equal(merged["blocks.0.self_attn.k.weight"], base["blocks.0.self_attn.k.weight"])
    half = with_lora(base, lora, tmp_path / "lora.pt", alpha=2)
    expected = (base["blocks.0.self_attn.q.weight"].float() + 0.5 * (b @ a)).bfloat16()
    assert torch.equal(half["blocks.0.self_attn.q.weight"], expected)


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"x": torch.zeros(1)}, "holds no LoRA"),
        (
            {"blocks.9.self_attn.q.lora_A.weight": torch.zeros(4, 48)},
            "blocks.9.self_attn.q.weight in the base is missing",
        ),
        ({"blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 48)}, "lora_B.weight is missing"),
        (
            {
                "blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 32),
                "blocks.0.self_attn.q.lora_B.weight": torch.zeros(48, 4),
            },
            r"blocks.0.self_attn.q is \(48, 48\)",
        ),
    ],
)
def test_a_lora_that_does_not_fit(weights: dict[str, Tensor], lora: dict[str, Tensor], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        with_lora(as_original(weights), lora, Path("lora.pt"))


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


def test_an_entry_that_is_not_there_is_named(tmp_path: Path) -> None:
    torch.save({"generator": {"a": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no entry 'generator_ema'; there is generator"):
        read(tmp_path / "x.pt", "generator_ema")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        read(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors file"):
        read(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("ran",))

    torch.save({"generator": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        read(tmp_path / "evil.pt")


@pytest.mark.parametrize("content", [b"", b"e", b"PK", b"]q\x00.", b"\x80\x02K\x01."])
def test_what_was_never_a_checkpoint_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.pt") as e:
        read(tmp_path / "w.pt")
    assert "\n" not in str(e.value)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".pt", ".safetensors"]))
def test_a_truncated_or_damaged_file_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / f"w{suffix}"
    tensors = {"a": torch.arange(64.0), "b": torch.ones(3, 3)}
    save_file(tensors, file) if suffix == ".safetensors" else torch.save({"generator": tensors}, file)
    whole = file.read_bytes()
    keep = data.draw(st.integers(0, len(whole) - 1))
    file.write_bytes(whole[:keep] + data.draw(st.binary(max_size=8)))
    failed = None
    try:
        read(file)  # what still reads whole is fine
    except CheckpointError as e:
        failed = str(e)
    assert failed is None or ("\n" not in failed and str(file) in failed)


def test_a_model_whose_folders_are_links_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("codec", "transformer"):
        (tmp_path / "elsewhere" / f"{name}.safetensors").touch()
    (tmp_path / "models").mkdir()
    assert len(missing_files(POCKET, tmp_path / "models")) == 2
    (tmp_path / "models" / "pocket").symlink_to(tmp_path / "elsewhere")
    assert missing_files(POCKET, tmp_path / "models") == []
