"""Make LoRA files of random low-rank changes for the tests."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.transformer import CausalWanTransformer

MODULES = {"self_attn.q": "attn1.to_q", "cross_attn.v": "attn2.to_v", "ffn.0": "ffn.net.0.proj"}


def lora_tensors(
    transformer: CausalWanTransformer, seed: int = 0, *, rank: int = 2, size: float = 0.5
) -> dict[str, Tensor]:
    """Return a LoRA in ComfyUI's key style, which changes some modules of every block of a transformer."""
    rank, make = 2, torch.Generator().manual_seed(seed)
    weights, tensors = transformer.state_dict(), {}
    for block in range(len(transformer.blocks)):
        for name, ours in MODULES.items():
            out, in_ = weights[f"blocks.{block}.{ours}.weight"].shape
            key = f"diffusion_model.blocks.{block}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, in_, generator=make) * in_**-0.5
            tensors[f"{key}.lora_B.weight"] = torch.randn(out, rank, generator=make) * size * rank**-0.5
    return tensors


def lora_file(path: Path, transformer: CausalWanTransformer, seed: int = 0, *, size: float = 0.5) -> Path:
    """Write such a LoRA and return its path."""
    save_file(lora_tensors(transformer, seed, size=size), path)
    return path
