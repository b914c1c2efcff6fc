"""Run exported files in place of the torch modules of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from exporters.decoder import memory_shapes
from models.cache_protocol import Cache, EngineCache, Visible
from models.checkpoints.assemble import Model
from models.codecs.stream import Memory
from models.codecs.tiny import TinyCodec
from models.cue import CueError
from models.rope import Rotation
from models.time_grid import FRAMES_PER_LATENT
from models.transformer import CausalWanTransformer, TextState

STEP, DECODER, NOTES = "step.onnx", "decoder.onnx", "int8.json"  # files of an artifact
Say = Callable[[str], None]  # progress, a line at a time


class Runner(Protocol):
    """Run one exported file."""

    dtype: torch.dtype  # of every input and output but the timestep and the rotation, which are float32

    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        """Compute into `outputs`. All tensors are contiguous and on the engine's device."""
        ...


@dataclass(frozen=True)
class Variant:
    """Name an engine and the precision that it runs in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class Runners:
    """Hold the runners of one artifact; without a decoder the codec stays in torch."""

    variant: Variant
    runtime: str  # name and version, for a take's record
    transformer: Runner
    decoder: Runner | None
    artifact: Path | None = None


class _AsStored:
    """Store a pass in the ring's type that torch runs in its own, and that sees nothing but itself."""

    def __init__(self, cache: Cache, dtype: torch.dtype) -> None:
        self._cache, self._dtype = cache, dtype

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        self._cache.extend(layer, key.to(self._dtype), value.to(self._dtype), rotation)
        return Visible(rotation(key), value)


class EngineTransformer:
    """Stand for `CausalWanTransformer` inside a generator: same call, but a runner does the arithmetic.

    The ring stays where it is: its visible past goes in, new keys and values come out and are written to it.
    """

    def __init__(self, transformer: CausalWanTransformer, runner: Runner) -> None:
        self.config, self.device, self.dtype = transformer.config, transformer.device, runner.dtype
        self.driving_attention = transformer.driving_attention
        self._torch, self._runner = transformer, runner
        self._text: tuple[TextState, Tensor, Tensor] | None = None
        self._outputs: dict[tuple[int, ...], dict[str, Tensor]] = {}

    def embed_text(self, embeddings: Tensor) -> TextState:
        """Encode a prompt as `CausalWanTransformer.embed_text` does; torch runs it, as it is needed once a prompt."""
        text = self._torch.embed_text(embeddings.to(self._torch.dtype))
        layers = tuple((k.to(self.dtype), v.to(self.dtype)) for k, v in text.layers)
        return TextState(embeddings, layers)

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextState,
        rotation: Rotation,
        cache: EngineCache,
        *,
        drive: Tensor | None = None,
        head: bool = True,
    ) -> Tensor | None:
        """Run one step as `CausalWanTransformer.forward` does.

        Only a pass without a head writes the cache: what a noisy pass would write is overwritten by the clean one
        before anything else reads it.
        """
        if self.driving_attention is not None and drive is None:  # the one pass over a portrait, which nothing drives
            own = self._torch.dtype
            in_torch = TextState(text.embeddings, tuple((k.to(own), v.to(own)) for k, v in text.layers))
            self._torch(latents.to(own), timestep, in_torch, rotation, _AsStored(cache, self.dtype), head=head)
            return None
        if timestep.ndim > 1:
            raise CueError(
                "this engine has one noise level for a chunk, and a clean image needs two: use --engine torch"
            )
        past_keys, past_values = cache.past()
        text_keys, text_values = self._stacked(text)
        outputs = self._buffers(latents[:1], len(rotation.cos))
        rows: list[tuple[Tensor, ...]] = []
        for row in range(len(latents)):  # the engine's shapes are those of one take
            inputs = {"latents": latents[row : row + 1], "timestep": timestep, "cos": rotation.cos, "sin": rotation.sin}
            inputs |= {"past_keys": past_keys[:, row], "past_values": past_values[:, row]}
            said = min(row, text_keys.shape[1] - 1)  # takes in step may share a prompt
            inputs |= {"text_keys": text_keys[:, said], "text_values": text_values[:, said]}
            inputs |= {} if drive is None else {"drive": drive[row : row + 1].to(self.dtype)}
            self._runner.run({name: t.contiguous() for name, t in inputs.items()}, outputs)
            kept = ("prediction",) if head else ("new_keys", "new_values")
            rows.append(tuple(outputs[name].clone() for name in kept))  # the buffers are the next step's
        if head:
            return torch.cat([prediction for (prediction,) in rows])
        keys, values = (torch.stack(of_rows, 1) for of_rows in zip(*rows, strict=True))
        for layer, (k, v) in enumerate(zip(keys, values, strict=True)):
            cache.extend(layer, k, v, rotation)
        return None

    def _stacked(self, text: TextState) -> tuple[Tensor, Tensor]:
        """Return a prompt's keys and values, [layers, prompts, T, heads, d] each, T as the engine was built for."""
        if self._text is None or self._text[0] is not text:
            keys, values = zip(*text.in_full().layers, strict=True)
            self._text = text, torch.stack(keys).to(self.dtype), torch.stack(values).to(self.dtype)
        return self._text[1], self._text[2]

    def _buffers(self, latents: Tensor, queries: int) -> dict[str, Tensor]:
        shape = tuple(latents.shape)
        if shape not in self._outputs:
            c = self.config
            new = (c.num_layers, queries, c.num_attention_heads, c.attention_head_dim)
            sizes = {"prediction": (1, c.out_channels, *shape[2:]), "new_keys": new, "new_values": new}
            self._outputs[shape] = {n: latents.new_empty(s, dtype=self.dtype) for n, s in sizes.items()}
        return self._outputs[shape]


class EngineDecoder:
    """Stand for `TinyCodec` inside a decoder stream."""

    def __init__(self, codec: TinyCodec, runner: Runner) -> None:
        self._codec, self._runner = codec, runner

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode as `TinyCodec.decode` does; the memory returned is new every time, since snapshots keep it."""
        rows = [
            self._decode(latents[row : row + 1], None if memory is None else [_row(m, row) for m in memory])
            for row in range(len(latents))
        ]  # the engine's shapes are those of one take
        if len(rows) == 1:
            return rows[0]
        memories = zip(*(fresh for _, fresh in rows), strict=True)
        joined = [torch.cat([m for m in of_rows if isinstance(m, Tensor)]) for of_rows in memories]
        return torch.cat([frames for frames, _ in rows]), [*joined]

    def _decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None) -> tuple[Tensor, Memory]:
        """Decode the latents of one take."""
        _, _, n, h, w = latents.shape
        shapes, stride = memory_shapes(self._codec, (h, w)), self._codec.stride
        make = latents.new_zeros if memory is None else latents.new_empty
        dtype = self._runner.dtype
        past = (
            [make(s, dtype=dtype) for s in shapes]
            if memory is None
            else [m.to(dtype) for m in memory if isinstance(m, Tensor)]
        )
        inputs = {"latents": latents.to(dtype).contiguous()} | {f"memory_{i}": m for i, m in enumerate(past)}
        frames = latents.new_empty((1, FRAMES_PER_LATENT * n, 3, h * stride, w * stride), dtype=dtype)
        fresh = [latents.new_empty(s, dtype=dtype) for s in shapes]
        self._runner.run(inputs, {"frames": frames} | {f"new_memory_{i}": m for i, m in enumerate(fresh)})
        return frames, list(fresh)


def _row(memory: Tensor | str | None, row: int) -> Tensor | str | None:
    return memory[row : row + 1].contiguous() if isinstance(memory, Tensor) else memory


def with_engine(model: Model, runners: Runners) -> Model:
    """Return the model, run by these runners; a take's record says so."""
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer), "only a torch model can be given another engine"
    codec, decoder = model.generator.codec, None
    if runners.decoder is not None and isinstance(codec, TinyCodec):
        decoder = EngineDecoder(codec, runners.decoder)
    generator = model.generator.run_by(EngineTransformer(transformer, runners.transformer), decoder)
    record = {
        "engine": runners.variant.engine,
        "precision": runners.variant.precision,
        "runtime": runners.runtime,
    }
    return replace(model, generator=generator, engine=record)
