"""Stand in for TensorRT: answer as TensorRT 11 is documented to, and record every name that was used.

It proves that the build and run code goes through, in order, with the shapes it should; not that TensorRT agrees.
"""

from __future__ import annotations

import ctypes
import math
from types import SimpleNamespace
from typing import Any


class RecordedObject:
    """Stand for a module or an object of TensorRT; every name taken from it is noted in `used`."""

    def __init__(self, used: set[str], **members: Any) -> None:
        self.__dict__.update(_used=used, _members=members, written={})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._used.add(name)
        if name not in self._members:
            raise AttributeError(f"the stand-in knows no {name}")
        return self._members[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._used.add(name)
        self.written[name] = value


class StandIn:
    """Give a `module` for sys.modules as tensorrt; the other attributes record how it was called."""

    def __init__(self, *, refuses: str = "") -> None:
        self.used: set[str] = set()
        self.profiles: list[dict[str, tuple[int, ...]]] = []
        self.calls: list[str] = []
        self.refuses = refuses
        self.parsed: list[str] = []
        self.timings: list[bytes] = []
        self.runs = 0
        new = lambda **members: RecordedObject(self.used, **members)  # noqa: E731

        class IProgressMonitor:
            def __init__(self) -> None: ...

        config = new(
            set_memory_pool_limit=lambda pool, size: self.calls.append(f"workspace {size}"),
            clear_flag=lambda flag: self.calls.append(f"clear {flag}"),
            create_timing_cache=self._timing_cache,
            set_timing_cache=lambda cache, *, ignore_mismatch: refuses != "timings" or cache == "cache of 0 bytes",
            get_timing_cache=lambda: new(serialize=lambda: b"timings"),
            add_optimization_profile=self._add_profile,
        )
        self.config = config
        builder = new(
            create_network=lambda flags: self.calls.append(f"network {flags}") or "network",
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: self._profile(new),
            build_serialized_network=self._build,
        )
        parser = new(
            parse_from_file=self._parse, get_error=lambda i: new(desc=lambda: "no kernel for this"), num_errors=1
        )
        logger = new()
        self.module = new(
            __version__="11.4.0",
            Logger=_Logger(),
            Builder=lambda log: builder,
            OnnxParser=lambda network, log: parser,
            MemoryPoolType=new(WORKSPACE="WORKSPACE"),
            BuilderFlag=new(TF32="TF32"),
            TensorIOMode=new(INPUT="in", OUTPUT="out"),
            IProgressMonitor=IProgressMonitor,
            Runtime=lambda log: new(deserialize_cuda_engine=self._engine),
        )
        self.module.__dict__["__version__"] = "11.4.0"
        self._new, self._logger = new, logger

    def _timing_cache(self, data: bytes) -> str:
        self.timings.append(data)
        return f"cache of {len(data)} bytes"

    def _profile(self, new: Any) -> Any:
        shapes: dict[str, tuple[int, ...]] = {}

        def set_shape(name: str, low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
            assert low == best == high
            shapes[name] = best

        return new(set_shape=set_shape, shapes=shapes)

    def _add_profile(self, profile: Any) -> int:
        self.profiles.append(profile._members["shapes"])
        return -1 if self.refuses == "profile" else len(self.profiles) - 1

    def _parse(self, path: str) -> bool:
        self.parsed.append(path)
        return self.refuses != "parse"

    def _build(self, network: str, config: RecordedObject) -> bytes | None:
        monitor = config.written["progress_monitor"]
        monitor.phase_start("tactics", None, 2)
        assert monitor.step_complete("tactics", 0)
        monitor.phase_finish("tactics")
        return None if self.refuses == "build" else b"plan"

    def _engine(self, data: bytes) -> Any:
        if data != b"plan":
            return None
        inputs = list(self.profiles[0])
        names = [*inputs, "prediction", "new_keys", "new_values"]
        return self._new(
            num_io_tensors=len(names),
            get_tensor_name=lambda i: names[i],
            get_tensor_mode=lambda name: "in" if name in inputs else "out",
            get_tensor_dtype=lambda name: "DataType.FLOAT",
            num_optimization_profiles=len(self.profiles),
            get_tensor_profile_shape=lambda name, i: [self.profiles[i][name]] * 3,
            create_execution_context=lambda: None if self.refuses == "context" else self._context(),
        )

    def _context(self) -> RecordedObject:
        shapes: dict[str, tuple[int, ...]] = {}
        addresses: dict[str, int] = {}

        def shape(name: str, value: tuple[int, ...]) -> bool:
            shapes[name] = value
            return self._call(f"shape {name}")

        def address(name: str, value: int) -> bool:
            addresses[name] = value
            return self._call(f"address {name} {value != 0}") and self.refuses != "address"

        return self._new(
            set_optimization_profile_async=lambda i, stream: self._call(f"profile {i}"),
            set_input_shape=shape,
            set_tensor_address=address,
            infer_shapes=list,
            execute_async_v3=lambda stream: self._execute(shapes, addresses),
        )

    def _call(self, what: str) -> bool:
        self.calls.append(what)
        return True

    def _execute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> bool:
        """Write twice the first float of the latents to every output, at the addresses that were set."""
        if self.refuses == "run":
            return False
        self.runs += 1
        layers, _, *head = shapes["past_keys"]
        new = math.prod((layers, shapes["cos"][0], *head))
        value = 2 * ctypes.c_float.from_address(addresses["latents"]).value
        for name, size in (("prediction", math.prod(shapes["latents"])), ("new_keys", new), ("new_values", new)):
            (ctypes.c_float * size).from_address(addresses[name])[:] = [value] * size
        return True


def _Logger() -> Any:
    def logger(level: str) -> SimpleNamespace:
        return SimpleNamespace()

    logger.WARNING = "WARNING"  # type: ignore[attr-defined]
    return logger
