"""Export the step and the codec's decoder from torch's own modules to ONNX files, checked in full."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.export import Dim

from exporters.decoder import DecoderStep
from exporters.step import OUTPUTS, Step, example_inputs
from exporters.wan_decoder import WanDecoderStep, steady_features
from models.codecs.tiny import TinyCodec
from models.transformer import CausalWanTransformer

OPSET = 20  # 21 and later break ONNX Runtime 1.32 on Q/DQ pairs, 23 and later spell attention in one node


def export_step(transformer: CausalWanTransformer, path: Path, *, text_length: int) -> onnx.ModelProto:
    """Export the step; latents, picture size and past are dynamic, layers and text length are fixed."""
    _, ph, pw = transformer.config.patch_size
    inputs = example_inputs(transformer, (3 * ph, 5 * pw), latents=3, past=7 * 15, text=text_length)
    dynamic: dict[str, dict[int, Any]] = {name: {} for name in inputs}
    dynamic["latents"] = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC, 4: Dim.DYNAMIC}
    dynamic |= {"cos": {0: Dim.DYNAMIC}, "sin": {0: Dim.DYNAMIC}}
    dynamic |= {"past_keys": {1: Dim.DYNAMIC}, "past_values": {1: Dim.DYNAMIC}}
    if "drive" in inputs:
        dynamic["drive"] = {1: Dim.DYNAMIC, 2: Dim.DYNAMIC}
    return _export(Step(transformer).eval(), inputs, dynamic, OUTPUTS, path)


def export_decoder(codec: TinyCodec, path: Path) -> onnx.ModelProto:
    """Export the tiny codec's decoder as a streaming step; number of latents and picture size are dynamic."""
    step = DecoderStep(codec).eval()
    inputs = step.example_inputs(cells=(6, 10), latents=3)
    dynamic: dict[str, Any] = {
        "latents": {2: Dim.DYNAMIC, 3: Dim.DYNAMIC, 4: Dim.DYNAMIC},
        "memory": tuple({2: Dim.DYNAMIC, 3: Dim.DYNAMIC} for _ in inputs["memory"]),
    }
    return _export(step, inputs, dynamic, ("frames", *step.memory_names("new_")), path, step.memory_names())


def export_wan_decoder(codec: AutoencoderKLWan, path: Path) -> onnx.ModelProto:
    """Export Wan's decoder as a streaming step, from the third latent of a stream on; picture size is dynamic."""
    channels = codec.config.z_dim
    features = steady_features(codec, torch.randn(1, channels, 2, 4, 6))
    step = WanDecoderStep(codec, tuple(features)).eval()
    inputs = {"latents": torch.randn(1, channels, 1, 4, 6), "features": tuple(features.values())}
    sized = {3: Dim.DYNAMIC, 4: Dim.DYNAMIC}
    dynamic: dict[str, Any] = {"latents": sized, "features": tuple(sized for _ in features)}
    names = [f"feature_{place}" for place in features]
    return _export(step, inputs, dynamic, ("frames", *(f"new_{n}" for n in names)), path, tuple(names))


def _export(
    module: nn.Module,
    inputs: dict[str, Any],
    dynamic: dict[str, Any],
    outputs: tuple[str, ...],
    path: Path,
    memory: tuple[str, ...] = (),
) -> onnx.ModelProto:
    names = [n for n in inputs if isinstance(inputs[n], Tensor)] + list(memory)
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            module,
            kwargs=inputs,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            input_names=names,
            output_names=list(outputs),
        )
        assert program is not None
        program.save(str(path), external_data=_large(module))
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(str(path), load_external_data=False)


def _large(module: nn.Module) -> bool:
    """Return whether the weights exceed what one protobuf file can hold (2 GiB)."""
    return sum(p.numel() * p.element_size() for p in module.parameters()) > 1.9 * 2**30


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch.onnx, which prints its progress, and ONNX Runtime's quantizer, which advises on the root logger."""
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger()]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
