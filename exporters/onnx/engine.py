"""Run a model in ONNX Runtime: float32, float16, or INT8 with dynamic activations and an INT8 decoder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch

from exporters.engine_modules import DECODER, STEP, Runners, Say, Variant
from models.checkpoints.assemble import Model

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
EXTRA = "export"
DEVICE = "cpu"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float32}


def make(model: Model, precision: str, folder: Path, say: Say) -> None:
    """Write the artifact's files into the folder."""
    from exporters.module_files import write_float, write_int8

    if precision == "int8":
        write_int8(model, folder, say, static=False)
    else:
        write_float(model, folder, DTYPES[precision], say)


def start(model: Model, precision: str, folder: Path) -> Runners:
    """Open the artifact."""
    from exporters.onnx.runner import OnnxRunner

    dtype = DTYPES[precision]
    decoder = OnnxRunner(folder / DECODER, dtype) if (folder / DECODER).exists() else None
    return Runners(
        Variant("onnx", precision),
        f"onnxruntime {version('onnxruntime')}",
        OnnxRunner(folder / STEP, dtype),
        decoder,
        folder,
    )
