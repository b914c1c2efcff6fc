"""Measure what the device itself can do: products, copies, attention kernels, products of fewer bits."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor
from torch.nn import functional as F

from app.attention_choice import measured
from app.device_check.sizes import Attention, Sizes
from app.device_check.timing import Figures, milliseconds, relative_error, tried
from models.attention import attend

PACKAGES = ("torch", "triton", "numpy", "diffusers", "torchao", "sageattention", "av")
FLOAT8 = torch.float8_e4m3fn


def machine(sizes: Sizes, device: torch.device) -> Figures:
    """Say what device this is, and what it reaches in a large product and a large copy."""
    side, dtype = sizes.square, torch.bfloat16
    a = torch.randn(side, side, device=device, dtype=dtype)
    product = milliseconds(lambda: a @ a, device, sizes.warm, sizes.calls)
    source = torch.empty(side * side * 16, device=device, dtype=torch.uint8)
    copy = milliseconds(source.clone, device, sizes.warm, sizes.calls)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "driver": _driver() if device.type == "cuda" else None,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "product bf16 TFLOP/s": round(2 * side**3 / product / 1e9, 3),
        "copy GB/s": round(2 * source.nbytes / copy / 1e6, 2),
    }


def attention(sizes: Sizes, device: torch.device) -> Figures:
    """Time attention by each of torch's kernels, with the error against float32, and by SageAttention if it is here."""
    found: Figures = {
        f"{shape.queries} x {shape.keys}, {shape.heads} heads": _kernels(shape, device) for shape in sizes.attentions
    }
    make = torch.Generator(device).manual_seed(0)
    first = sizes.attentions[0]
    q, k = (
        torch.randn((1, tokens, first.heads, 128), generator=make, device=device, dtype=torch.bfloat16)
        for tokens in (first.queries, 96)
    )
    bias = torch.zeros(96, device=device, dtype=torch.bfloat16)
    ways: dict[str, Callable[[], object]] = {
        "a prompt's 96 keys ms": lambda: attend(q, k, k),
        "with a bias for its padding ms": lambda: attend(q, k, k, bias=bias),
    }
    return found | {name: tried(partial(_rounded_ms, way, sizes, device)) for name, way in ways.items()}


def _rounded_ms(way: Callable[[], object], sizes: Sizes, device: torch.device) -> float:
    return round(milliseconds(way, device, sizes.warm, sizes.calls), 4)


def _kernels(shape: Attention, device: torch.device) -> Figures:
    queries, keys = (1, shape.queries, shape.heads, 128), (1, shape.keys, shape.heads, 128)
    operations = 4 * shape.queries * shape.keys * shape.heads * 128
    found: Figures = {
        one.kernel.name: {
            "ms": round(1000 * one.seconds, 4),
            "TFLOP/s": round(operations / one.seconds / 1e12, 3),
            "error": round(one.error, 6),
        }
        for one in measured(queries, keys, device, torch.bfloat16)
    }
    return found | {"sage": tried(lambda: _sage(queries, keys, device))}


def _sage(queries: tuple[int, ...], keys: tuple[int, ...], device: torch.device) -> dict[str, float]:
    from sageattention import sageattn

    make = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(s, generator=make, device=device, dtype=torch.bfloat16) for s in (queries, keys, keys))
    exact = attend(q[:, :64].float(), k.float(), v.float())
    out = sageattn(q, k, v, tensor_layout="NHD")
    ms = milliseconds(lambda: sageattn(q, k, v, tensor_layout="NHD"), device, 2, 5)
    return {"ms": round(ms, 4), "error": round(relative_error(out[:, :64], exact), 6)}


def products(sizes: Sizes, device: torch.device) -> Figures:
    """Time the products of a block in bfloat16, float8 (by tensor, by row) and int8, with their errors.

    Products of activations are timed with the making of their float8 and int8 values, as they come in bfloat16.
    """
    c = sizes.main.entry.transformer
    width = c["num_attention_heads"] * c["attention_head_dim"]
    shapes = {"q, k, v, out": (width, width), "up": (width, c["ffn_dim"]), "down": (c["ffn_dim"], width)}
    return {name: _product(sizes, device, *shape) for name, shape in shapes.items()}


def _product(sizes: Sizes, device: torch.device, wide: int, out: int) -> Figures:
    make = torch.Generator(device).manual_seed(0)
    x = torch.randn(sizes.tokens, wide, generator=make, device=device, dtype=torch.bfloat16)
    w = torch.randn(out, wide, generator=make, device=device, dtype=torch.bfloat16) / wide**0.5
    exact = x.float() @ w.float().T
    w_tensor, w_rows, w_int = _float8(w, None), _float8(w, 1), _int8(w)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "bf16": lambda x: F.linear(x, w),
        "float8 by tensor": lambda x: _scaled(_float8(x, None), w_tensor),
        "float8 by row": lambda x: _scaled(_float8(x, 1), w_rows),
        "int8": lambda x: _int_product(_int8(x), w_int),
    }
    found: Figures = {}
    for name, way in ways.items():
        for how, call in (("", way), (" compiled", torch.compile(way, dynamic=False))):
            found[name + how] = tried(partial(_timed, call, x, exact, sizes, device))
    return found


def _timed(
    way: Callable[[Tensor], Tensor], x: Tensor, exact: Tensor, sizes: Sizes, device: torch.device
) -> dict[str, float]:
    error = relative_error(way(x), exact)
    ms = milliseconds(lambda: way(x), device, sizes.warm, sizes.calls)
    return {"ms": round(ms, 4), "error": round(error, 5)}


def _float8(x: Tensor, axis: int | None) -> tuple[Tensor, Tensor]:
    """Return values in float8 and their scales, float32: one, or one for each row of x [rows, columns]."""
    largest = x.abs().amax() if axis is None else x.abs().amax(axis, keepdim=True)
    scale = largest.float().clamp(min=1e-12) / torch.finfo(FLOAT8).max
    return (x.float() / scale).to(FLOAT8), scale


def _scaled(x: tuple[Tensor, Tensor], w: tuple[Tensor, Tensor]) -> Tensor:
    """Return the product of float8 values [rows, n] with weights [out, n], [rows, out] bfloat16."""
    w_scale = w[1] if w[1].ndim == 0 else w[1].T.contiguous()
    # torch's public functional.scaled_mm is newer than the oldest torch that is supported here
    return torch._scaled_mm(x[0], w[0].T, x[1], w_scale, out_dtype=torch.bfloat16)


def _int8(x: Tensor) -> tuple[Tensor, Tensor]:
    scale = x.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / 127
    return (x.float() / scale).round().to(torch.int8), scale


def _int_product(x: tuple[Tensor, Tensor], w: tuple[Tensor, Tensor]) -> Tensor:
    return (torch._int_mm(x[0], w[0].T).float() * x[1] * w[1].T).to(torch.bfloat16)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str:
    """Return driver, clocks and temperature as nvidia-smi states them, or why it does not."""
    asked = "name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu,power.limit"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    return str(tried(lambda: subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()))
