"""The attention kernel is the fastest one whose error is one of rounding."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from app import attention_choice
from app.attention_choice import Tried, measured, prefer_fastest
from models.attention import attend, prefer
from models.catalog import find

CPU = torch.device("cpu")
FLASH, CUDNN, EFFICIENT, MATH = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> list[list[SDPBackend]]:
    """Return the orders of kernels that are asked for, instead of taking them."""
    orders: list[list[SDPBackend]] = []
    monkeypatch.setattr(attention_choice, "prefer", orders.append)
    return orders


def test_kernels_that_run_here_are_timed_with_their_error() -> None:
    found = measured((1, 48, 2, 16), (1, 96, 2, 16), CPU, torch.bfloat16, (FLASH, MATH, CUDNN))
    assert [one.kernel for one in found] == [FLASH, MATH]  # a CPU has no cuDNN
    assert all(one.seconds > 0 and 0 < one.error < 0.02 and one.sound for one in found)


def test_the_fastest_kernel_is_tried_first_and_a_wrong_one_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, preferred: list[list[SDPBackend]]
) -> None:
    tries = [Tried(FLASH, 0.002, 0.003), Tried(CUDNN, 0.001, 0.5), Tried(EFFICIENT, 0.0015, 0.003)]
    monkeypatch.setattr(attention_choice, "measured", lambda *shapes: tries)
    assert prefer_fastest(find("longlive-1.3b"), torch.device("cuda"), torch.bfloat16) == tries
    assert preferred == [[EFFICIENT, FLASH]]


@pytest.mark.usefixtures("preferred")
def test_the_shapes_are_those_of_a_chunk_with_a_full_window(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(attention_choice, "measured", lambda *shapes: asked.append(shapes[:2]) or [])
    prefer_fastest(find("longlive-1.3b"), torch.device("cuda"), torch.bfloat16)
    assert asked == [((1, 4680, 12, 128), (1, 18720, 12, 128))]


def test_nothing_is_measured_on_a_cpu(preferred: list[list[SDPBackend]]) -> None:
    assert prefer_fastest(find("longlive-1.3b"), CPU, torch.bfloat16) == []
    assert preferred == []


def test_an_order_forbids_no_kernel_and_is_replaced_by_the_next() -> None:
    make = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 8, 2, 16, generator=make), torch.randn(1, 24, 2, 16, generator=make)
    before = attend(q, k, k)
    for order in ([CUDNN], [FLASH], [EFFICIENT, CUDNN], []):
        prefer(order)
        allowed = torch.backends.cuda
        assert all((allowed.flash_sdp_enabled(), allowed.mem_efficient_sdp_enabled(), allowed.math_sdp_enabled()))
        assert torch.equal(attend(q, k, k), before)
