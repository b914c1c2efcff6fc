"""Every published model of the catalog loads from a checkpoint in its own layout, and refuses another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from torch import Tensor

from models.catalog import ENTRIES, Entry, find
from models.catalog_entry import CodecError
from models.checkpoints.assemble import folder_of
from models.checkpoints.components import lora_of, tae_of, transformer_of
from models.checkpoints.footprint import parameters
from models.checkpoints.wan_family import seems_to_be
from models.checkpoints.wan_names import original_name
from models.checkpoints.weight_files import CheckpointError
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE
from models.transformer import CausalWanTransformer

Weights = dict[str, Tensor]


def tiny(**changes: Any) -> tuple[Weights, dict[str, Any]]:
    """Return weights of a small transformer in diffusers' naming, and its settings."""
    torch.manual_seed(0)
    settings = TINY | changes
    return CausalWanTransformer(**settings).state_dict(), settings


def original(weights: Weights, prefix: str = "model.") -> Weights:
    return {prefix + original_name(k): v.contiguous() for k, v in weights.items()}


def trained(entry: str, others: tuple[str, ...] = (), prefix: str = "model.") -> Callable[[Weights, Path], None]:
    """Return a writer of a training's .pt file, with the weights below `entry` and zeros below `others`."""

    def write(weights: Weights, file: Path) -> None:
        named = original(weights, prefix)
        zeros = {k: torch.zeros_like(v) for k, v in original(weights).items()}
        torch.save({entry: named, **dict.fromkeys(others, zeros), "step": 600}, file)

    return write


def parts(weights: Weights, folder: Path) -> None:
    """Write a folder as diffusers does, in two parts with an index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "CausalWanTransformer3DModel"}))
    names = sorted(weights)
    halves = {f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for name, keys in halves.items():
        save_file({k: weights[k].contiguous() for k in keys}, folder / name)
    index = {"weight_map": {k: name for name, keys in halves.items() for k in keys}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def bf16(weights: Weights, file: Path) -> None:
    trained("generator")({k: v.bfloat16() for k, v in weights.items()}, file)


LAYOUTS: dict[str, Callable[[Weights, Path], None]] = {
    "longlive-1.3b": trained("generator", ("critic",)),
    "self-forcing": trained("generator_ema", ("generator", "critic"), "model._fsdp_wrapped_module."),
    "sfwan2.1": parts,
    "causal-forcing": trained("generator"),
    "causal-forcing-framewise": trained("generator_ema"),
    "causal-forcing-2step": trained("generator_ema"),
    "causal-forcing-1step": trained("generator_ema"),
    "one-forcing": trained("generator"),
    "reward-forcing": trained("generator_ema", ("generator",), "model._fsdp_wrapped_module."),
    "memflow": trained("generator"),
    "longlive-infinity": trained("generator"),
    "streamdiffusion-v2": trained("generator"),
    "streamdiffusion-v2-batch": trained("generator"),
    "krea-14b": lambda weights, file: save_file(original(weights), file),
    "longlive2-5b": bf16,
}
PUBLISHED = [name for name, entry in ENTRIES.items() if any(s.repo for s in entry.sources)]


def written(name: str, folder: Path, **changes: Any) -> tuple[Entry, Weights]:
    """Write the model's checkpoint with small weights; return its entry with their sizes, and the weights."""
    weights, settings = tiny(**changes)
    entry = replace(find(name), transformer=settings)
    file = folder / entry.weights.file
    file.parent.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](weights, file)
    return entry, weights


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_loads_from_its_own_layout(name: str, tmp_path: Path) -> None:
    entry, weights = written(name, tmp_path)
    part, _ = transformer_of(entry, tmp_path)
    loaded = part.loaded(torch.float32).state_dict()
    rounded = torch.bfloat16 if LAYOUTS[name] is bf16 else torch.float32
    assert all(torch.equal(loaded[k], v.to(rounded).float()) for k, v in weights.items())


@pytest.mark.parametrize("name", [n for n in PUBLISHED if find(n).weights.lora])
def test_the_lora_of_a_model_is_read_as_peft_names_it(name: str, tmp_path: Path) -> None:
    entry, weights = written(name, tmp_path)
    assert entry.weights.lora is not None
    down, up = torch.randn(4, 48), torch.randn(48, 4)
    keys = {f"base_model.model.blocks.0.self_attn.q.lora_{side}.weight": t for side, t in (("A", down), ("B", up))}
    torch.save({"generator_lora": keys}, tmp_path / entry.weights.lora)
    lora = lora_of(entry, tmp_path, weights)
    assert lora is not None
    assert len(lora.changes) == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_of_another_model_is_named(name: str, tmp_path: Path) -> None:
    small = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "ffn_dim": 16, "in_channels": 6}
    _, _ = written(name, tmp_path, **small)
    with pytest.raises(CheckpointError, match="this seems to be a Wan model of 6 channels in, 1 layers of width 16"):
        transformer_of(replace(find(name), transformer=TINY), tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_architecture_is_one_that_a_checkpoint_is_told_by(name: str) -> None:
    entry = find(name)
    with torch.device("meta"):
        network = CausalWanTransformer(**entry.transformer)
    known = seems_to_be(network.state_dict())
    assert known is not None
    assert not known.startswith("a Wan model of")
    assert sum(p.numel() for p in network.parameters()) == parameters(entry)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_names_its_files_its_licence_and_a_size_that_it_can_draw(name: str) -> None:
    entry = find(name)
    assert all(s.repo and s.files and s.licence for s in entry.sources)
    _, rows, columns = entry.transformer["patch_size"]
    assert entry.size[0] % (entry.stride * columns) == entry.size[1] % (entry.stride * rows) == 0
    assert entry.folder in ("", *ENTRIES)
    assert folder_of(entry, Path("models")).name == (entry.folder or name)


@pytest.mark.parametrize("name", ["longlive-1.3b", "longlive2-5b"])
def test_a_tiny_codec_stands_for_wans(name: str, tmp_path: Path) -> None:
    entry = find(name).with_codec("tae")
    channels = entry.transformer["out_channels"]
    files = [f for s in entry.sources for f in s.files]
    assert not [f for f in files if f.startswith("vae/")]
    assert f"taew2_{1 if channels == 16 else 2}.pth" in files
    codec = TinyCodec(TAE[channels])
    assert (codec.latent_channels, codec.stride) == (channels, entry.stride)
    torch.save(codec.state_dict(), tmp_path / files[-1])
    loaded = tae_of(entry, tmp_path).loaded(torch.float32)
    assert all(torch.equal(v, codec.state_dict()[k]) for k, v in loaded.state_dict().items())
    other = TinyCodec(TAE[64 - channels])
    torch.save(other.state_dict(), tmp_path / files[-1])
    with pytest.raises(CheckpointError, match=r"decoder\.1\.weight|encoder\.0\.weight|model of another size"):
        tae_of(entry, tmp_path)


def test_a_model_without_another_codec_says_so() -> None:
    with pytest.raises(CodecError, match="pocket has no codec 'tae'; there is its own"):
        find("pocket").with_codec("tae")
    with pytest.raises(CodecError, match="there is wan, tae"):
        find("longlive2-5b").with_codec("taew2_1")
