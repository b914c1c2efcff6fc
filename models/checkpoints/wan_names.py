"""Translate names of a Wan transformer's parameters between Wan's own code and diffusers, both ways."""

from __future__ import annotations

import re

_WHOLE = {  # module of the whole model: Wan's name → diffusers'
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}
_BLOCK = {  # module of one of the blocks
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",  # the norm before cross-attention; the other two have no parameters in either naming
}
_BLOCK_MODULE = re.compile(r"^(blocks\.\d+)\.(.+)$")
_MODULATION = re.compile(r"^((?:blocks\.\d+\.)?)scale_shift_table$")


def diffusers_name(parameter: str) -> str:
    """Return diffusers' name of a parameter; a name that is not one of Wan's own code stays as it is."""
    if parameter == "head.modulation":
        return "scale_shift_table"
    if re.fullmatch(r"blocks\.\d+\.modulation", parameter):
        return parameter.removesuffix("modulation") + "scale_shift_table"
    return _translated(parameter, _WHOLE, _BLOCK)


def original_name(parameter: str) -> str:
    """Return the name of a parameter in Wan's own code; a name that is not one of diffusers stays as it is."""
    if match := _MODULATION.match(parameter):
        return (match[1] or "head.") + "modulation"
    return _translated(parameter, _WHOLE_BACK, _BLOCK_BACK)


def _translated(parameter: str, whole: dict[str, str], block: dict[str, str]) -> str:
    module, dot, leaf = parameter.rpartition(".")
    if match := _BLOCK_MODULE.match(module):
        return f"{match[1]}.{block.get(match[2], match[2])}{dot}{leaf}"
    return f"{whole.get(module, module)}{dot}{leaf}"


_WHOLE_BACK = {theirs: ours for ours, theirs in _WHOLE.items()}
_BLOCK_BACK = {theirs: ours for ours, theirs in _BLOCK.items()}
