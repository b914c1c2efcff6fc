"""Pocket's weight files: float16 safetensors whose metadata says how to build the module and how it was trained."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from models.checkpoints.weight_files import load_into, read
from models.codecs.tiny import TinyCodec
from models.text.words import WordText
from models.transformer import CausalWanTransformer

Facts = dict[str, float | str]  # of a training run: steps, minutes, stage


def save(module: nn.Module, config: dict[str, Any], path: Path, history: list[Facts]) -> None:
    """Write atomically, with the training runs that led here; a reader never sees half a file."""
    tensors = {n: t.detach().to(torch.float16).contiguous() for n, t in module.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"config": json.dumps(config), "training": json.dumps(history)})
    os.replace(partial, path)


def history(path: Path) -> list[Facts]:
    """The training runs that a weight file says it comes from, oldest first."""
    with safe_open(path, "pt") as f:
        runs: list[Facts] = json.loads(f.metadata()["training"])
    return runs


def save_codec(codec: TinyCodec, path: Path, history: list[Facts]) -> None:
    save(codec, dataclasses.asdict(codec.config), path, history)


def encoder_digest(codec: TinyCodec) -> str:
    """Names what the codec's latents mean; a decoder that was trained on alone does not change it."""
    digest = hashlib.blake2b(repr((codec.config.latents_mean, codec.config.latents_std)).encode(), digest_size=8)
    for name, tensor in sorted(codec.encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_transformer(transformer: CausalWanTransformer, text: WordText, path: Path, history: list[Facts]) -> None:
    """The transformer and its text encoder lie in one file, for they are trained together."""
    names: tuple[str, ...] = (
        "patch_size",
        "num_attention_heads",
        "attention_head_dim",
        "in_channels",
        "out_channels",
        "text_dim",
    )
    names += ("freq_dim", "ffn_dim", "num_layers", "cross_attn_norm")
    config: dict[str, Any] = {"transformer": {n: transformer.config[n] for n in names}, "words": text.words}
    if transformer.drive is not None:
        config["drive"] = transformer.drive.features
    save(nn.ModuleDict({"transformer": transformer, "text": text}), config, path, history)


def load_transformer(path: Path) -> tuple[CausalWanTransformer, WordText]:
    """Both as they were saved, in float32, ready to be trained on."""
    with safe_open(path, "pt") as f:
        config = json.loads(f.metadata()["config"])
    transformer, text = build_transformer(config["transformer"], tuple(config["words"]), config.get("drive"))
    load_into(
        nn.ModuleDict({"transformer": transformer, "text": text}), {k: v.float() for k, v in read(path).items()}, path
    )
    return transformer, text


def build_transformer(
    config: dict[str, Any], words: tuple[str, ...], drive: int | None = None
) -> tuple[CausalWanTransformer, WordText]:
    """New ones; `drive` counts the features of a driving token, for a model that has one."""
    transformer = CausalWanTransformer(**config)
    if drive is not None:
        transformer.add_drive(drive)
    return transformer, WordText(words, config["text_dim"])
