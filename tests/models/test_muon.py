"""Muon's updates are bounded in either precision."""

from __future__ import annotations

import pytest
import torch

from models.pocket.training.muon import Muon, orthogonalised


@pytest.mark.parametrize(("dtype", "steps", "bound"), [(torch.float32, 3, 2.0), (torch.bfloat16, 5, 1.25)])
@pytest.mark.parametrize("shape", [(80, 80), (96, 864), (320, 80), (3, 160)])
@pytest.mark.parametrize("rank", [1, 3, None])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_an_update_has_no_large_singular_value(
    dtype: torch.dtype, steps: int, bound: float, shape: tuple[int, int], rank: int | None, scale: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        matrices = torch.randn(6, *shape, generator=generator)
        if rank is not None:
            left, right = (torch.randn(6, n, rank, generator=generator) for n in shape)
            matrices = left @ right.mT
        updates = orthogonalised(scale * matrices, dtype, steps)
        assert updates.isfinite().all()
        assert torch.linalg.matrix_norm(updates, 2).max() < bound


def test_a_step_goes_down() -> None:
    weight = torch.nn.Parameter(torch.eye(8))
    optimiser = Muon([weight], lr=0.1)
    for _ in range(80):
        optimiser.zero_grad()
        loss = (weight @ torch.ones(8) + 1).square().sum()
        loss.backward()
        optimiser.step()
    assert loss < 1
