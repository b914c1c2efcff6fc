"""Run a TensorRT plan: for every set of shapes bindings that are allocated once, and a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exporters.artifacts import ExportError

Replay = Callable[[], None]
TYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16}  # by TensorRT's names


@dataclass(frozen=True)
class Bound:
    """Hold a context whose shapes and addresses are set once and for all."""

    context: Any
    tensors: dict[str, Tensor]
    replay: Replay


class TensorrtRunner:
    """Run one plan. Addresses never change after the first run of a shape, so that a CUDA graph can be replayed."""

    def __init__(self, plan: Path, dtype: torch.dtype, device: torch.device) -> None:
        import tensorrt as trt

        self.dtype, self._device = dtype, device
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._engine = trt.Runtime(self._logger).deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise ExportError(f"{plan}: TensorRT {trt.__version__} cannot read it on this GPU; make it anew")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self._bound: dict[tuple[tuple[int, ...], ...], Bound] = {}

    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        key = tuple(tuple(inputs[name].shape) for name in self._inputs)
        if key not in self._bound:
            self._bound[key] = self._bind(inputs, outputs)
        bound = self._bound[key]
        for name, value in inputs.items():
            bound.tensors[name].copy_(value)
        bound.replay()
        for name, value in outputs.items():
            value.copy_(bound.tensors[name])

    def _bind(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Bound:
        profile = self._profile(inputs)
        context = self._engine.create_execution_context()
        if context is None:
            raise ExportError("TensorRT cannot have the GPU memory that a run of this engine takes")
        stream = torch.cuda.Stream(self._device)
        _demand(f"profile {profile}", done=context.set_optimization_profile_async(profile, stream.cuda_stream))
        stream.synchronize()
        tensors = {n: torch.empty_like(t, dtype=self._type(n)).contiguous() for n, t in {**inputs, **outputs}.items()}
        for name in inputs:
            _demand(f"the shape of {name}", done=context.set_input_shape(name, tuple(inputs[name].shape)))
        room = torch.empty(1, device=self._device)  # an empty past has no address, and TensorRT asks for one
        for name, value in tensors.items():
            address = (value if value.numel() else room).data_ptr()
            _demand(f"the address of {name}", done=context.set_tensor_address(name, address))
        unknown = context.infer_shapes()
        if unknown:
            raise ExportError(f"TensorRT does not know the shape of {', '.join(unknown)}")
        return Bound(context, {**tensors, "": room}, capture(context, stream))

    def _type(self, name: str) -> torch.dtype:
        """Return the engine's own type of an input or output; copying converts a tensor of another type."""
        return TYPES[str(self._engine.get_tensor_dtype(name)).rsplit(".", 1)[-1]]

    def _profile(self, inputs: dict[str, Tensor]) -> int:
        shapes = {n: tuple(inputs[n].shape) for n in self._inputs}
        for i in range(self._engine.num_optimization_profiles):
            if all(tuple(self._engine.get_tensor_profile_shape(n, i)[1]) == s for n, s in shapes.items()):
                return i
        raise ExportError(f"the engine was built for other shapes than {shapes}; make it anew for this size of picture")


def capture(context: Any, stream: torch.cuda.Stream) -> Replay:
    """Capture the context's work as a CUDA graph, after the first runs, which set things up."""
    torch.cuda.synchronize()
    for _ in range(2):
        _demand("the run", done=context.execute_async_v3(stream.cuda_stream))
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        _demand("the run", done=context.execute_async_v3(stream.cuda_stream))
    replay: Replay = graph.replay
    return replay


def _demand(what: str, *, done: bool) -> None:
    """Raise ExportError where TensorRT has returned False, after which its results would mean nothing."""
    if not done:
        raise ExportError(f"TensorRT refuses {what}; its log above says why")
