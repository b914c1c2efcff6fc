"""Dequantise scaled float8, and refuse other quantised weights by name instead of casting them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoints.weight_files import CheckpointError, load_into, read

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
PLAIN = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


def text(content: str) -> Tensor:
    return torch.tensor(list(content.encode()), dtype=torch.uint8)


def stored(tmp_path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    save_file({k: t.clone() for k, t in tensors.items()}, tmp_path / "w.safetensors")
    return read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1)])
@pytest.mark.parametrize("dtype", [E4M3, E5M2])
def test_scaled_float8_is_weight_times_scale(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    scale = torch.rand(shape) + 0.5
    weight = PLAIN.to(dtype)
    file = {"q.weight": weight, f"q.{name}": scale, "q.bias": torch.ones(4), "q.scale_input": torch.ones(1)}
    tensors = stored(tmp_path, file | {"scaled_fp8": torch.zeros(2, dtype=dtype)})
    assert set(tensors) == {"q.weight", "q.bias"}
    factor = scale.reshape(-1, 1) if scale.numel() == 4 else scale.reshape(())
    assert torch.equal(tensors["q.weight"], weight.float() * factor)


def test_what_a_scaled_file_holds_besides_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        stored(tmp_path, {"q.weight": PLAIN.to(E4M3), "q.scale_weight": torch.ones(1), "q.scale_input": torch.ones(1)})
    assert "q.scale_input: scales of activations" in caplog.text


def test_comfys_mark_of_float8_is_understood(tmp_path: Path) -> None:
    mark = {"q.comfy_quant": text('{"format": "float8_e4m3fn"}'), "q.weight_scale": torch.tensor(2.0)}
    weight = PLAIN.to(E4M3)
    assert torch.equal(stored(tmp_path, {"q.weight": weight} | mark)["q.weight"], weight.float() * 2)


I8, U8 = torch.ones(4, 8, dtype=torch.int8), torch.ones(4, 8, dtype=torch.uint8)
ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"q.weight": I8, "q.weight_scale": ONE}, "whole-number weights with scales (q.weight is int8)"),
        ({"q.weight": U8, "q.absmax": ONE, "q.quant_map": ONE}, "bitsandbytes (nf4 or fp4)"),
        ({"q.weight": U8, "q.weight.quant_state.bitsandbytes__nf4": U8}, "bitsandbytes (nf4 or fp4)"),
        ({"q.weight": I8, "q.SCB": ONE}, "bitsandbytes (int8)"),
        ({"q.qweight": I8, "q.wscales": ONE, "q.smooth_factor": ONE}, "Nunchaku (SVDQuant)"),
        ({"q.qweight": I8, "q.qzeros": I8, "q.scales": ONE}, "GPTQ or AWQ"),
        ({"q.weight_packed": I8, "q.weight_scale": ONE}, "compressed-tensors"),
        ({"q.weight": U8, "q.weight_scale": ONE, "q.weight_scale_2": ONE}, "NVFP4"),
        ({"q.weight": PLAIN.to(E4M3), "q.weight_scale_inv": ONE}, "float8 weights scaled by blocks"),
        ({"q.weight._data": I8, "q.weight._scale": ONE}, "optimum-quanto"),
        ({"q.weight": I8, "q.comfy_quant": text('{"format": "int8_tensorwise"}')}, "'int8_tensorwise'"),
        ({"q.weight": I8, "q.comfy_quant": text("{")}, "'unknown'"),
        ({"q.scale_weight": ONE}, "q.weight is missing"),
        ({"q.weight": PLAIN.to(E4M3), "q.scale_weight": torch.ones(3)}, "the scale of q.weight is (3,) float32"),
        ({"q.weight": PLAIN.to(E4M3), "q.scale_weight": torch.ones(4, 2)}, "the scale of q.weight is (4, 2)"),
    ],
)
def test_quantised_weights_are_refused_by_name(tmp_path: Path, tensors: dict[str, Tensor], says: str) -> None:
    with pytest.raises(CheckpointError) as e:
        stored(tmp_path, tensors)
    assert says in str(e.value)


class One(nn.Module):
    """Hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, E4M3, E5M2])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_floating_type_is_loaded_as_the_module_has_it(tmp_path: Path, dtype: torch.dtype, device: str) -> None:
    weight = PLAIN.to(dtype)
    with torch.device(device):
        module = One()
    load_into(module, stored(tmp_path, {"weight": weight}), Path("w"))
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, weight.float())


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64]
)
def test_other_types_are_never_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    with pytest.raises(CheckpointError, match="instead of floating point"):
        load_into(One(), stored(tmp_path, {"weight": torch.ones(4, 8).to(dtype)}), Path("w"))


@pytest.mark.parametrize(
    ("tensor", "says"), [(PLAIN.to_sparse(), "a sparse_coo tensor"), (PLAIN.to("meta"), r"a meta \(empty\) tensor")]
)
def test_a_tensor_of_a_pickle_that_is_not_plain_is_refused(tmp_path: Path, tensor: Tensor, says: str) -> None:
    torch.save({"weight": tensor}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=f"weight is {says}"):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, E5M2])
def test_values_that_are_no_numbers_are_said(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    weight = PLAIN.clone()
    weight[2, 3] = value
    with pytest.raises(CheckpointError, match=r"NaN or infinite\) in weight"):
        load_into(One(), stored(tmp_path, {"weight": weight.to(dtype)}), Path("w"))


def test_numbers_too_large_for_the_type_that_is_wanted_are_said() -> None:
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        load_into(One(), {"weight": torch.full((4, 8), 1e6)}, Path("w"), torch.float16)


def test_large_numbers_whose_sum_overflows_are_loaded() -> None:
    load_into(One(), {"weight": torch.full((4, 8), 3e38)}, Path("w"))
