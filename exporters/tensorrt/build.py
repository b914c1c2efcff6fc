"""Build a TensorRT 11 plan of a typed ONNX file: one strongly typed network, one profile a (queries, past) pair.

Written to TensorRT 11.4's API, where precision comes from the graph's types and its Q/DQ pairs alone: there are no
precision flags, no calibrators, no explicit-batch flag. It has not run on a GPU yet; see `exporters.verify`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporters.artifacts import ExportError
from exporters.engine_modules import Say

WORKSPACE = 4 << 30  # bytes that a tactic may use
Shapes = Mapping[str, tuple[int, ...]]  # by the name of an input


def build_plan(
    source: Path, profiles: Sequence[Shapes], plan: Path, cache: Path, say: Say, *, tf32: bool = False
) -> None:
    """Parse `source`, build it for the shapes of every profile, write the plan; timings are kept in `cache`."""
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        raise ExportError(f"{source.name}: TensorRT {trt.__version__} does not take it ({parser.get_error(0).desc()})")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    timings = config.create_timing_cache(cache.read_bytes() if cache.exists() else b"")
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):  # damaged, or another GPU's
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        if config.add_optimization_profile(profile) < 0:
            raise ExportError(f"{source.name}: TensorRT refuses the profile {dict(shapes)}")
    config.progress_monitor = _monitor(trt, say)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ExportError(f"{source.name}: TensorRT {trt.__version__} could not build it; its log above says why")
    plan.write_bytes(bytes(serialized))
    measured = config.get_timing_cache()
    if measured is not None:
        partial = cache.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(bytes(measured.serialize()))
        os.replace(partial, cache)


def _monitor(trt: Any, say: Say) -> Any:
    class Progress(trt.IProgressMonitor):
        """Say how far the builder's phases are."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            say(f"{phase_name}: {step + 1} of {self.steps.get(phase_name, 0)}")
            return True

    return Progress()
