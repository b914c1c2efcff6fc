"""Read what `--engine` asks for; this module imports neither torch nor an engine."""

from __future__ import annotations

from dataclasses import dataclass

from exporters.artifacts import ExportError

TORCH = "torch"
ENGINE_NAMES = ("onnx", "openvino", "tensorrt")  # the keys of engine_registry.ENGINES
PRECISIONS = ("fp32", "fp16", "int8")  # of every engine
COMPILED = "compiled"  # torch in its usual precision, with compiled blocks
TORCH_WAYS = ("fp32", "bf16", COMPILED)


@dataclass(frozen=True)
class Asked:
    """Hold what `--engine` asks for: auto, torch, an engine, or one with its precision as in onnx:int8.

    Of torch, `compiled` may stand in the precision's place.
    """

    engine: str
    precision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read the text; ExportError names the engines and precisions that there are."""
        engine, colon, precision = text.partition(":")
        if engine not in ("auto", TORCH, *ENGINE_NAMES):
            raise ExportError(f"there is no engine {engine!r}; there are auto, {TORCH}, {', '.join(ENGINE_NAMES)}")
        if colon and engine == "auto":
            raise ExportError(f"{engine} has no precisions to choose, not {precision!r}")
        known = TORCH_WAYS if engine == TORCH else PRECISIONS
        if colon and precision not in known:
            raise ExportError(f"engine {engine} knows {', '.join(known)}, not {precision!r}")
        return cls(engine, precision or None)
