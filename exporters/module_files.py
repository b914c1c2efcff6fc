"""Write the ONNX files of a model in one precision, from which every engine starts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor

from exporters.artifacts import write_json
from exporters.capture import capture
from exporters.decoder import memory_shapes
from exporters.engine_modules import DECODER, NOTES, STEP, Say
from exporters.int8 import calibrate, sensitivity
from exporters.int8.decoder import Arrays, quantize
from exporters.int8.graph import dynamic, with_qdq
from exporters.onnx.graph import export_decoder, export_step
from exporters.rollouts import roll
from models.checkpoints.assemble import Model
from models.codecs.tiny import TinyCodec
from models.transformer import CausalWanTransformer

EVERY = 11  # passes of the calibration rollouts that are skipped between two that are kept


@dataclass(frozen=True)
class Modules:
    """Hold the modules of a model that are exported; a codec that is no TinyCodec stays in torch."""

    transformer: CausalWanTransformer
    codec: TinyCodec | None
    text_length: int


def modules(model: Model, dtype: torch.dtype) -> Modules:
    """Return the torch modules of a model in the type that they are exported in."""
    transformer, codec = model.generator.transformer, model.generator.codec
    assert isinstance(transformer, CausalWanTransformer), "only a torch model can be exported"
    # an engine reads all positions of a text, its padding too
    length = model.generator.text("a red ball by day").embeddings.shape[1]
    tiny = codec if isinstance(codec, TinyCodec) else None
    if dtype != transformer.dtype:
        transformer = copy.deepcopy(transformer).to(dtype)
        tiny = copy.deepcopy(tiny).to(dtype) if tiny else None
    return Modules(transformer, tiny, length)


def write_float(model: Model, folder: Path, dtype: torch.dtype, say: Say) -> None:
    """Write step and decoder in one floating-point type."""
    parts = modules(model, dtype)
    say("exporting the transformer's step")
    export_step(parts.transformer, folder / STEP, text_length=parts.text_length)
    if parts.codec is not None:
        say("exporting the codec's decoder")
        export_decoder(parts.codec, folder / DECODER)


def write_int8(model: Model, folder: Path, say: Say, *, static: bool, base: torch.dtype = torch.float32) -> None:
    """Write the step in INT8; layers that lose too much stay in float and are listed in a note.

    Static: Q/DQ pairs with calibrated scales over a graph of type `base`. Otherwise activations get their scale at
    run time (ONNX Runtime's own operators). Over float32 the decoder is made INT8 too.
    """
    write_float(model, folder, base, say)
    say("calibrating on the model's own rollouts")
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    captured = capture(model, calibrate.scripts(), EVERY)
    scales = calibrate.activation_scales(transformer, captured)
    asked: dict[str, float | None] = {n: s if static else None for n, s in scales.items()}
    found = sensitivity.measure(model, asked, captured, say)
    path = folder / STEP
    if static:
        onnx.save(with_qdq(onnx.load(str(path)), {n: s for n, s in scales.items() if n not in found.kept}), str(path))
        onnx.checker.check_model(str(path), full_check=True)
    else:
        dynamic(path, path, found.kept)
    parts = modules(model, base)
    if parts.codec is not None and base == torch.float32:
        say("calibrating the decoder")
        quantize(folder / DECODER, folder / DECODER, decoder_inputs(model, parts.codec))
    write_json(folder / NOTES, {"scheme": "static" if static else "dynamic", "passes": len(captured), **asdict(found)})


def decoder_inputs(model: Model, codec: TinyCodec, size: tuple[int, int] | None = None) -> Iterator[Arrays]:
    """Yield inputs of decoder steps over the calibration rollouts, as arrays by name."""
    for script in calibrate.scripts(chunks=6, takes=2):
        memory = None
        for _, latents in roll(model, script, size):
            shapes = memory_shapes(codec, (latents.shape[3], latents.shape[4]))
            past = memory or [torch.zeros(s) for s in shapes]
            arrays = {f"memory_{i}": m.numpy() for i, m in enumerate(past) if isinstance(m, Tensor)}
            yield {"latents": latents.numpy(), **arrays}
            with torch.inference_mode():
                _, memory = codec.decode(latents, memory)
