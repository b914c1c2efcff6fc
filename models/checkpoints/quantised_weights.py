"""Recognise quantised weights by names and dtypes of tensors; dequantise scaled float8, refuse other formats."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.training_wrappers import LeftOut, StateDict

_FORMATS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.(absmax|quant_map|nested_absmax|nested_quant_map)$|\.quant_state\.bitsandbytes__\w+$"),
     "4-bit weights of bitsandbytes (nf4 or fp4)"),
    (re.compile(r"\.(SCB|weight_format)$"), "8-bit weights of bitsandbytes (int8)"),
    (re.compile(r"\.(wscales|wtscale|wcscales|smooth_factor|smooth_factor_orig|smooth_orig)$"),
     "4-bit weights of Nunchaku (SVDQuant)"),
    (re.compile(r"\.(qweight|qzeros|g_idx)$"), "weights quantised by GPTQ or AWQ"),
    (re.compile(r"\.(weight_packed|weight_zero_point|weight_global_scale)$"), "weights of compressed-tensors"),
    (re.compile(r"\.weight_scale_2$"), "4-bit weights (NVFP4)"),
    (re.compile(r"\.weight_scale_inv$"), "float8 weights scaled by blocks"),
    (re.compile(r"\._(data|scale|shift)$"), "weights quantised by optimum-quanto"),
    (re.compile(r"\.W_q$"), "weights quantised by HQQ"),
)  # fmt: skip
_SCALE = re.compile(r"^(?:(.*)\.)?(?:scale_weight|weight_scale)$")
_INPUT_SCALE = re.compile(r"(?:^|\.)(?:scale_input|input_scale|scale_output)$")
_MARKER = re.compile(r"(?:^|\.)scaled_fp8$")
_COMFY = re.compile(r"\.comfy_quant$")
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def dequantised(tensors: StateDict, path: Path) -> tuple[StateDict, list[LeftOut]]:
    """Return weights as plain floating point; scaled float8 becomes weight times scale in float32.

    Scales are those of ComfyUI (`scale_weight`) and LightX2V (`weight_scale`), one per tensor or per output row. Raises
    CheckpointError, which names the format, for all others.
    """
    for pattern, name in _FORMATS:
        keys = [k for k in tensors if pattern.search(k)]
        if keys:
            raise CheckpointError(
                f"{path}: holds {name} ({some_of(keys, 1)}), a format that is not read here; "
                f"use the file with weights in bf16, fp16 or fp32"
            )
    plain, left_out = dict(tensors), list[LeftOut]()
    for key in [k for k in tensors if _COMFY.search(k)]:
        form = _comfy_format(plain.pop(key))
        if not form.startswith("float8"):
            raise CheckpointError(
                f"{path}: holds weights that ComfyUI quantised as {form!r} ({some_of([key])}), "
                f"a format that is not read here; use the file with weights in bf16, fp16 or fp32"
            )
    for pattern, reason in (
        (_INPUT_SCALE, "scales of activations, which float arithmetic does not need"),
        (_MARKER, "a mark of scaled float8 weights"),
    ):
        keys = [k for k in plain if pattern.search(k)]
        for k in keys:
            del plain[k]
        left_out += [LeftOut(reason, tuple(keys), usual=True)] if keys else []
    for key in list(plain):
        if match := _SCALE.search(key):
            name = f"{match[1]}.weight" if match[1] else "weight"
            plain[name] = _scaled(plain.get(name), plain.pop(key), name, path)
    return {k: t.bfloat16() if t.dtype in FLOAT8 else t for k, t in plain.items()}, left_out  # exact in bfloat16


def _scaled(weight: Tensor | None, scale: Tensor, name: str, path: Path) -> Tensor:
    if weight is None:
        raise CheckpointError(f"{path}: holds a scale without its weight, {some_of([name])} is missing")
    if not weight.is_floating_point():
        raise CheckpointError(
            f"{path}: holds whole-number weights with scales ({some_of([name])} is {dtype_name(weight)}), a format "
            f"that is not read here; use the file with weights in bf16, fp16 or fp32"
        )
    rows = tuple(scale.shape) in ((len(weight),), (len(weight), 1)) if weight.ndim else False
    if not scale.is_floating_point() or not (rows or scale.numel() == 1):
        raise CheckpointError(
            f"{path}: the scale of {some_of([name])} is {tuple(scale.shape)} {dtype_name(scale)}, its weight is "
            f"{tuple(weight.shape)}; one scale a tensor or an output row is what is read here"
        )
    factors = scale.float().reshape(-1, *[1] * (weight.ndim - 1)) if rows else scale.float().reshape(())
    return weight.float() * factors


def _comfy_format(marker: Tensor) -> str:
    try:
        return str(json.loads(bytes(marker.to(torch.uint8).flatten()[:4096].tolist()))["format"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unknown"


def dtype_name(tensor: Tensor) -> str:
    """Return the name of a tensor's dtype without the prefix `torch.`."""
    return str(tensor.dtype).removeprefix("torch.")
