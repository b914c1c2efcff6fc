"""Run ONNX files on the CPU: one session a file, inputs and outputs bound to torch's own memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

TYPES = {torch.float32: np.float32, torch.float16: np.float16}


class OnnxRunner:
    """Run one ONNX file. Nothing is copied: ONNX Runtime reads and writes the tensors that it is given."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # threads that spin while they wait take the cores from the encoder and from torch
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.dtype = dtype
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        binding = self._session.io_binding()
        for name, t in inputs.items():
            if t.numel():
                binding.bind_input(name, "cpu", 0, TYPES[t.dtype], tuple(t.shape), t.data_ptr())
            else:  # an empty past has no address
                binding.bind_cpu_input(name, t.numpy())
        for name, t in outputs.items():
            binding.bind_output(name, "cpu", 0, TYPES[t.dtype], tuple(t.shape), t.data_ptr())
        self._session.run_with_iobinding(binding)
