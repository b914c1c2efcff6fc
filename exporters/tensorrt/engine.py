"""Run a model in TensorRT on NVIDIA GPUs: float32, float16, or INT8 from Q/DQ pairs over float16."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch

from exporters.artifacts import ExportError
from exporters.decoder import memory_shapes
from exporters.engine_modules import DECODER, STEP, Runners, Say, Variant
from exporters.shapes import occurring, tokens_of
from models.checkpoints.assemble import Model
from models.codecs.tiny import TinyCodec
from models.driving_signal import TOKENS

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "tensorrt")
EXTRA = "tensorrt"
DEVICE = "cuda"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float16}


def make(model: Model, precision: str, folder: Path, say: Say) -> None:
    """Write the typed ONNX files, hold them to the parser's table, build a plan of each."""
    from exporters.module_files import write_float, write_int8
    from exporters.tensorrt.build import build_plan
    from exporters.tensorrt.operators import complaints

    if precision == "int8":
        write_int8(model, folder, say, static=True, base=DTYPES[precision])
    else:
        write_float(model, folder, DTYPES[precision], say)
    for name, profiles in ((STEP, step_profiles(model)), (DECODER, decoder_profiles(model))):
        source = folder / name
        if not source.exists():
            continue
        found = complaints(source)
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ExportError(f"{name} is nothing for TensorRT's parser: {found[0]}{more}")
        say(f"building {source.stem}: {len(profiles)} profiles, some minutes each")
        build_plan(source, profiles, source.with_suffix(".plan"), _timings(model, folder.parent), say)
        for file in folder.glob(f"{name}*"):  # weights of more than 2 GiB lie beside the graph
            file.unlink()


def _timings(model: Model, store: Path) -> Path:
    """Return the file of measured tactics of this GPU and version, which builds of all precisions share."""
    gpu = torch.cuda.get_device_name(model.generator.device).replace(" ", "-").replace("/", "-")
    return store / f"tensorrt-{version('tensorrt-cu13')}-{gpu}.timings"


def start(model: Model, precision: str, folder: Path) -> Runners:
    """Load the plans."""
    from exporters.tensorrt.runner import TensorrtRunner

    device, dtype = model.generator.device, DTYPES[precision]
    decoder = (folder / DECODER).with_suffix(".plan")
    return Runners(
        Variant("tensorrt", precision),
        f"tensorrt {version('tensorrt-cu13')}",
        TensorrtRunner((folder / STEP).with_suffix(".plan"), dtype, device),
        TensorrtRunner(decoder, dtype, device) if decoder.exists() else None,
        folder,
    )


def step_profiles(model: Model) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes of a step's inputs for every (queries, past) pair at the entry's size of picture."""
    c, size, stride = model.generator.transformer.config, model.entry.size, model.generator.stride
    text = model.generator.text("a red ball by day").embeddings.shape[1]
    cells, tokens = (size[1] // stride, size[0] // stride), tokens_of(model, size)
    heads, driving = (c.num_attention_heads, c.attention_head_dim), model.generator.transformer.driving_attention
    profiles = []
    for queries, past in occurring(model, size):
        turn, seen, words = (queries, 1, heads[1] // 2), (c.num_layers, past, *heads), (c.num_layers, text, *heads)
        latents = queries // tokens
        profiles.append(
            {
                "latents": (1, c.in_channels, latents, *cells),
                "timestep": (1,),
                **{"cos": turn, "sin": turn, "past_keys": seen, "past_values": seen},
                **{"text_keys": words, "text_values": words},
                **({} if driving is None else {"drive": (1, latents, TOKENS, driving.features)}),
            }
        )
    return profiles


def decoder_profiles(model: Model) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes of the decoder's inputs for a chunk, a first chunk and the knot that a take ends with."""
    codec, r = model.generator.codec, model.generator.config
    if not isinstance(codec, TinyCodec):
        return []
    cells = (model.entry.size[1] // model.generator.stride, model.entry.size[0] // model.generator.stride)
    memory = {f"memory_{i}": s for i, s in enumerate(memory_shapes(codec, cells))}
    lengths = sorted({r.chunk, r.grid.first_chunk, r.knot} - {0})
    return [{"latents": (1, codec.config.latent_channels, n, *cells), **memory} for n in lengths]
