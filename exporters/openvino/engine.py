"""Run a model in OpenVINO on CPUs: float32, float16 arithmetic where the CPU has it, or INT8 from Q/DQ pairs.

With float16 arithmetic everything is float16, the sines of the timestep too, so it is less exact than ONNX's float16
files, whose types are fixed; whether that shows is for the parity report to say.
"""

from __future__ import annotations

import errno
import os
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exporters.artifacts import ExportError
from exporters.engine_modules import DECODER, STEP, Runners, Say, Variant
from models.checkpoints.assemble import Model

if TYPE_CHECKING:
    import openvino

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")
EXTRA = "openvino"
DEVICE = "cpu"


class OpenvinoRunner:
    """Run one compiled file. Inputs and outputs are torch's own memory."""

    dtype = torch.float32  # of inputs and outputs; what happens inside is the precision's matter

    def __init__(self, path: Path, precision: str) -> None:
        import openvino

        self._tensor = openvino.Tensor
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f16" if precision == "fp16" else "f32",
        }
        self._request = _core().compile_model(str(path), "CPU", hints).create_infer_request()

    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        for name, t in {**inputs, **outputs}.items():
            self._request.set_tensor(name, self._tensor(t.numpy(), shared_memory=True))
        self._request.infer()


@cache
def _core() -> openvino.Core:
    """Return the one core of this process, which is never given up.

    Its CPU plugin (2026.4) sets a stack for signal handlers and takes it away with the core. Of several cores that go
    in the order in which they came, the last one leaves a stack that is gone: the next signal, Ctrl+C included, ended
    the process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


def make(model: Model, precision: str, folder: Path, say: Say) -> None:
    """Write the ONNX files, then OpenVINO's own representation in their place."""
    import openvino

    from exporters.module_files import write_float, write_int8

    if precision == "int8":
        write_int8(model, folder, say, static=True)
    else:
        write_float(model, folder, torch.float32, say)
    for name in (STEP, DECODER):
        if (folder / name).exists():
            say(f"converting {name}")
            model_ir = openvino.convert_model(str(folder / name))
            try:
                openvino.save_model(
                    model_ir, str((folder / name).with_suffix(".xml")), compress_to_fp16=precision == "fp16"
                )
            except RuntimeError as e:  # of its C++ streams, which do not say why
                left = shutil.disk_usage(folder).free
                if left < (folder / name).stat().st_size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from e
                raise ExportError(f"OpenVINO could not write {name} ({str(e).splitlines()[0]})") from e
            for file in folder.glob(f"{name}*"):  # weights of more than 2 GiB lie beside the graph
                file.unlink()


def start(model: Model, precision: str, folder: Path) -> Runners:
    """Compile the artifact for this CPU."""
    decoder = (folder / DECODER).with_suffix(".xml")
    return Runners(
        Variant("openvino", precision),
        f"openvino {version('openvino')}",
        OpenvinoRunner((folder / STEP).with_suffix(".xml"), precision),
        OpenvinoRunner(decoder, precision) if decoder.exists() else None,
        folder,
    )
