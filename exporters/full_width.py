"""Export the big models' shapes in the same way, with random weights: python -m exporters.full_width

LongLive-1.3B's transformer at full width and two layers, the decoders of TAEHV and of Wan as streaming steps: each is
exported, checked in full by onnx, held to TensorRT's table, run in ONNX Runtime and compared with torch.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from exporters.decoder import DecoderStep
from exporters.onnx.graph import export_decoder, export_step, export_wan_decoder
from exporters.step import Step, example_inputs
from exporters.tensorrt.operators import complaints
from exporters.wan_decoder import WanDecoderStep, steady_features
from models.catalog import LONGLIVE
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.transformer import CausalWanTransformer

Inputs = dict[str, Any]
Figures = dict[str, int | float | list[str]]
LAYERS, TEXT = 2, 512


def transformer(path: Path, layers: int = LAYERS) -> Figures:
    """Export at LongLive's width; compare a chunk, a first chunk and a recache of small pictures with torch."""
    module = (
        CausalWanTransformer(**{**LONGLIVE.transformer, "num_layers": layers})
        .eval()
        .requires_grad_(requires_grad=False)
    )
    graph, step = export_step(module, path, text_length=TEXT), Step(module).eval()
    tries = [example_inputs(module, (4, 6), latents, past, TEXT) for latents, past in ((3, 54), (3, 0), (9, 18))]
    return figures(path, graph, step, tries)


def taehv(path: Path) -> Figures:
    """Export the tiny decoder at the widths of `taew2_1`."""
    codec = TinyCodec(TinyCodecConfig()).eval().requires_grad_(requires_grad=False)
    graph, step = export_decoder(codec, path), DecoderStep(codec).eval()
    return figures(path, graph, step, [step.example_inputs((4, 6), 3), step.example_inputs((6, 4), 1)])


def wan(path: Path, **config: int) -> Figures:
    """Export Wan's decoder, from a stream's third latent on."""
    codec = AutoencoderKLWan(**config).eval().requires_grad_(requires_grad=False)
    graph = export_wan_decoder(codec, path)
    latents = torch.randn(1, codec.config.z_dim, 3, 6, 4)
    features = steady_features(codec, latents[:, :, :2])
    step = WanDecoderStep(codec, tuple(features)).eval()
    return figures(path, graph, step, [{"latents": latents[:, :, 2:], "features": tuple(features.values())}])


def figures(path: Path, graph: onnx.ModelProto, step: torch.nn.Module, tries: list[Inputs]) -> Figures:
    """Return size and error of an export; the error is relative to the largest value of each output."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    worst = 0.0
    for inputs in tries:
        flat: list[Tensor] = [t for v in inputs.values() for t in (v if isinstance(v, tuple) else (v,))]
        have = session.run(None, {n: t.numpy() for n, t in zip(names, flat, strict=True)})
        with torch.inference_mode():
            want = step(**inputs)
        worst = max(
            worst, *(float(np.abs(a - b.numpy()).max() / b.abs().max()) for a, b in zip(have, want, strict=True))
        )
    size = sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))
    refused = complaints(path)
    return {
        "nodes": len(graph.graph.node),
        "MB": round(size / 1e6, 1),
        "error": worst,
        "refused by TensorRT's table": refused,
    }


EXPORTS: dict[str, Callable[[Path], Figures]] = {
    f"longlive-1.3b, {LAYERS} layers": transformer,
    "taehv decoder": taehv,
    "wan decoder": wan,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m exporters.full_width", description=__doc__)
    parser.parse_args()
    torch.manual_seed(0)
    for name, export in EXPORTS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(name, export(Path(folder) / "module.onnx"), flush=True)


if __name__ == "__main__":
    main()
