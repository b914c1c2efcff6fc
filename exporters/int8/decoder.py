"""Quantize the codec's decoder, whose convolutions take 4/5 of a chunk's time on a CPU once the steps are INT8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from exporters.onnx.graph import quiet

Arrays = dict[str, NDArray[np.generic]]  # inputs of a run, by name


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: Iterable[Arrays]) -> None:
        self._inputs: Iterator[Arrays] = iter(inputs)

    def get_next(self) -> Arrays | None:
        return next(self._inputs, None)


def quantize(source: Path, target: Path, inputs: Iterable[Arrays]) -> None:
    """Put Q/DQ pairs around every convolution, calibrated on `inputs`: a weight scale a channel, uint8 activations.

    uint8 is what CPUs multiply with int8; symmetric int8 activations were slower and much less exact in OpenVINO.
    """
    with quiet():
        quantize_static(
            str(source),
            str(target),
            _Reader(inputs),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
