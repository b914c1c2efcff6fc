"""Write and read pocket's weight files: float16 safetensors; metadata says how to build and how it was trained.

A model can also be written as several files of limited size (shards) beside an index in the Hugging Face layout, for
channels that carry small files only; `join_shards` makes one file of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.configuration import built_of, parsed, sound
from models.checkpoints.model_parts import index_of, parts_of_index
from models.checkpoints.safetensors_header import read_header
from models.checkpoints.weight_files import check_fit, load_into, read
from models.codecs.tiny import TinyCodec, TinyCodecConfig

if TYPE_CHECKING:  # the transformer imports diffusers, which codec training does without
    from models.text.word_encoder import WordText
    from models.transformer import CausalWanTransformer

Facts = dict[str, float | str]  # of a training run: steps, minutes, stage


def save(
    module: nn.Module, config: dict[str, Any], path: Path, history: list[Facts], shard_bytes: int | None = None
) -> None:
    """Write atomically, with the training runs that led here; a reader never sees half a file.

    With `shard_bytes`, weights that need more than that go into files `<stem>-00001-of-0000N.safetensors` of at most
    `shard_bytes` of tensors each, and `<path>.index.json` says which tensor lies where; `path` itself is not written.
    """
    tensors = {n: t.detach().to("cpu", torch.float16).contiguous() for n, t in module.state_dict().items()}
    metadata = {"config": json.dumps(config), "training": json.dumps(history)}
    if shard_bytes is None or _size(tensors) <= shard_bytes:
        _write(tensors, path, metadata)
        return
    shards = _split(tensors, shard_bytes)
    names = [f"{path.stem}-{i:05d}-of-{len(shards):05d}{path.suffix}" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write(shard, path.with_name(name), metadata)
    placed = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"metadata": metadata, "weight_map": placed}))
    os.replace(partial, _index(path))


def join_shards(path: Path) -> None:
    """Make the one file `path` of the shards that were saved under that name, metadata included; they are removed."""
    shards = parts_of_index(_index(path))
    _write(_tensors(path), path, _metadata(path))
    for shard in shards:
        shard.unlink()
    _index(path).unlink()


def exists(path: Path) -> bool:
    """Return whether weights were saved under that name, as one file or in shards."""
    return path.exists() or _index(path).exists()


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".index.json")


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _split(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """Return the tensors in their order, in as few parts of at most `limit` bytes as that order allows."""
    parts: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        if parts[-1] and _size(parts[-1]) + _size({name: tensor}) > limit:
            parts.append({})
        parts[-1][name] = tensor
    return parts


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    os.replace(partial, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Read one file or its shards; CheckpointError for a file that is missing, broken or not of this set."""
    return read(path if path.exists() or not _index(path).exists() else _index(path))


def _metadata(path: Path) -> dict[str, str]:
    if path.exists() or not _index(path).exists():
        return read_header(path).metadata
    metadata = index_of(_index(path)).get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{_index(path)}: its metadata are no texts")
    return metadata


def _config(path: Path) -> dict[str, Any]:
    return parsed(_metadata(path).get("config", "{}"), path)


def history(path: Path) -> list[Facts]:
    """Return the training runs that a weight file says it comes from, oldest first; CheckpointError if it says none."""
    try:
        runs: list[Facts] = json.loads(_metadata(path)["training"])
    except (KeyError, ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: does not say how it was trained") from e
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise CheckpointError(f"{path}: does not say how it was trained")
    return runs


def save_codec(codec: TinyCodec, path: Path, history: list[Facts]) -> None:
    save(codec, dataclasses.asdict(codec.config), path, history)


def load_codec(path: Path) -> TinyCodec:
    """Load a codec in float32, ready to be trained further. CheckpointError for a file that is not one."""
    tensors = _tensors(path)
    listed = sound(_config(path), path)
    config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in listed.items()}
    with built_of(path, "tiny codec"):
        with torch.device("meta"):
            planned = TinyCodec(TinyCodecConfig(**config))
        check_fit(planned.state_dict(), tensors, path)
        codec = TinyCodec(planned.config)
    load_into(codec, tensors, path)
    return codec


def encoder_digest(codec: TinyCodec) -> str:
    """Return a name for what a codec's latents mean; a decoder that is trained further alone does not change it."""
    digest = hashlib.blake2b(repr((codec.config.latents_mean, codec.config.latents_std)).encode(), digest_size=8)
    for name, tensor in sorted(codec.encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_transformer(
    transformer: CausalWanTransformer,
    text: WordText,
    path: Path,
    history: list[Facts],
    shard_bytes: int | None = None,
) -> None:
    """Save the transformer and its text encoder together, as they are trained together; see `save` for shards."""
    settings = dataclasses.asdict(transformer.config)
    del settings["eps"]  # the same for every Wan transformer
    config: dict[str, Any] = {"transformer": settings, "words": text.words}
    if transformer.driving_attention is not None:
        config["drive"] = transformer.driving_attention.features
    save(_together(transformer, text), config, path, history, shard_bytes)


def load_transformer(path: Path) -> tuple[CausalWanTransformer, WordText]:
    """Load the transformer and its text encoder in float32, ready to be trained further."""
    tensors, config = _tensors(path), _config(path)

    def build() -> tuple[CausalWanTransformer, WordText]:
        return build_transformer(sound(config["transformer"], path), tuple(config["words"]), config.get("drive"))

    with built_of(path, "transformer"):
        with torch.device("meta"):
            planned = build()
        check_fit(_together(*planned).state_dict(), tensors, path)
        transformer, text = build()
    load_into(_together(transformer, text), tensors, path)
    return transformer, text


def _together(transformer: CausalWanTransformer, text: WordText) -> nn.Module:
    return nn.ModuleDict({"transformer": transformer, "text": text})


def build_transformer(
    config: dict[str, Any], words: tuple[str, ...], driving_features: int | None = None
) -> tuple[CausalWanTransformer, WordText]:
    """Build a transformer and a text encoder with random weights; with `driving_features` it can be driven."""
    from models.text.word_encoder import WordText
    from models.transformer import CausalWanTransformer

    transformer = CausalWanTransformer(**config)
    if driving_features is not None:
        transformer.add_driving_attention(driving_features)
    return transformer, WordText(words, config["text_dim"])
