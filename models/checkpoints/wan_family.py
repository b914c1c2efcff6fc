"""Guess which published model a set of weights is from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from models.checkpoints.wan_names import diffusers_name

_BLOCK = re.compile(r"^blocks\.(\d+)\.")

_SIZES = {  # (width, layers, channels in) → name
    (1536, 30, 16): "Wan 2.1 1.3B text-to-video (Self-Forcing, LongLive 1.0)",
    (1536, 30, 32): "Wan 2.1 Fun 1.3B",
    (1536, 30, 33): "a portrait model on Wan 2.1 1.3B (OmniAvatar, LiveTalk)",
    (1536, 30, 36): "Wan 2.1 Fun 1.3B image-to-video",
    (1536, 30, 48): "Wan 2.1 Fun 1.3B with control",
    (5120, 40, 16): "Wan 14B text-to-video (2.1, 2.2 or Krea)",
    (5120, 40, 32): "Wan 2.1 Fun 14B",
    (5120, 40, 36): "Wan 14B image-to-video (2.1 or 2.2)",
    (5120, 40, 48): "Wan Fun 14B with control",
    (5120, 40, 52): "Wan 2.2 Fun 14B with control",
    (3072, 30, 48): "Wan 2.2 TI2V 5B (LongLive 2.0)",
    (3072, 30, 100): "Wan 2.2 Fun 5B",
    (3072, 30, 148): "Wan 2.2 Fun 5B with control",
}
_ADDED = {  # begin of a module's name → what it adds
    "vace_blocks.": "VACE",
    "vace_patch_embedding.": "VACE",
    "control_adapter.": "camera control (Fun)",
    "ref_conv.": "a reference picture (Fun)",
    "casual_audio_encoder.": "sound (S2V)",
    "audio_proj.": "sound",
    "audio_cond_projs.": "sound (OmniAvatar)",
    "face_adapter.": "face control (Animate)",
    "motion_encoder.": "face control (Animate)",
    "action_model.": "actions (Matrix-Game)",
}
_OTHERS: tuple[tuple[str, str], ...] = (  # key by which another network is known
    ("decoder.upsamples.0.residual.0.gamma", "a Wan video codec (VAE), in Wan's naming"),
    ("decoder.middle.0.residual.0.gamma", "a Wan video codec (VAE), in Wan's naming"),
    ("decoder.up_blocks.0.resnets.0.norm1.gamma", "a Wan video codec (VAE)"),
    ("decoder.mid_block.resnets.0.norm1.gamma", "a Wan video codec (VAE)"),
    ("decoder.mid_block.resnets.0.norm1.weight", "a picture codec (VAE) of another model"),
    ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 text encoder"),
    ("token_embedding.weight", "a T5 text encoder, in Wan's naming"),
    ("text_model.embeddings.token_embedding.weight", "a CLIP text encoder"),
    ("vision_model.embeddings.patch_embedding.weight", "a CLIP picture encoder"),
    ("visual.patch_embedding.weight", "a CLIP picture encoder"),
    ("input_blocks.0.0.weight", "a Stable Diffusion model"),
    ("joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
    ("double_blocks.0.img_attn.qkv.weight", "a FLUX or HunyuanVideo model"),
    ("double_blocks.0.img_attn_qkv.weight", "HunyuanVideo"),
    ("transformer_blocks.0.attn1.to_q.weight", "another video or picture transformer (LTX, CogVideoX or the like)"),
    ("transformer_blocks.0.attn.to_q.weight", "another picture transformer (FLUX, SD 3 or Qwen)"),
)


def seems_to_be(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a published model, or a description by its sizes; None if it is nothing known."""
    if any(".base_layer." in k for k in tensors):
        return "a model saved with its LoRA not merged into it"
    if any(".lora_" in k or "_lora." in k or ".lora." in k for k in tensors):
        return "a LoRA, which goes on top of a model"
    named = {diffusers_name(k): t for k, t in tensors.items()}
    if (sizes := sizes_of(named)) is not None:
        width, layers, channels = sizes
        size = f"{channels} channels in, {layers} layers of width {width}"
        name = _SIZES.get((width, layers, channels))
        added = _added(named)
        what = f"{name} ({size})" if name else f"a Wan model of {size}"
        return f"{what} with {added}" if added else what
    if "patch_embedding.weight" not in named and (added := _added(named)):
        return f"a module of {added} alone, without its base model"
    return next((name for key, name in _OTHERS if key in tensors), None)


def sizes_of(tensors: Mapping[str, Tensor]) -> tuple[int, int, int] | None:
    """Return width, layers and channels in of a Wan transformer in diffusers' naming; None if it is none."""
    embedding = tensors.get("patch_embedding.weight")
    layers = 1 + max((int(m[1]) for k in tensors if (m := _BLOCK.match(k))), default=-1)
    if embedding is None or embedding.ndim != 5 or not layers:
        return None
    return embedding.shape[0], layers, embedding.shape[1]


def _added(names: Collection[str]) -> str:
    found = {what for begin, what in _ADDED.items() if any(n.startswith(begin) or f".{begin}" in n for n in names)}
    if any("attn2.add_k_proj." in n or "image_embedder." in n for n in names):
        found.add("attention to a picture (image-to-video)")
    return " and ".join(sorted(found))
