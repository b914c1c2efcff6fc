"""UniPC and its schedule equal Wan 2.2's own solver (tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.cache_shape import AnchorPolicy
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.unipc import UniPC

GOLDEN = Path(__file__).parents[1] / "golden" / "unipc.safetensors"


def cases() -> dict[str, dict[str, Any]]:
    with safe_open(GOLDEN, "pt") as f:
        found: dict[str, dict[str, Any]] = json.loads(f.metadata()["cases"])
    return found


@pytest.mark.parametrize(("name", "case"), cases().items(), ids=list(cases()))
def test_every_step_equals_the_reference(name: str, case: dict[str, Any]) -> None:
    golden = load_file(GOLDEN)
    schedule = Schedule.even(case["steps"], case["shift"])
    torch.testing.assert_close(torch.tensor([*schedule.sigmas, 0.0]), golden[f"{name}.sigmas"], atol=1e-7, rtol=0)
    assert list(schedule.timesteps) == golden[f"{name}.timesteps"].tolist()
    solver, x = UniPC(schedule.sigmas), golden[f"{name}.in.x"]
    for i, sigma in enumerate(schedule.sigmas):
        x = solver.step(x, x - sigma * golden[f"{name}.velocity.{i}"])
        torch.testing.assert_close(x, golden[f"{name}.x.{i}"], atol=1e-5, rtol=0)


def test_a_schedule_that_begins_with_noise_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="UniPC begins below the noise level 1"):
        RolloutConfig(3, 12, 3, Schedule.warped((1000, 500), 5.0), "velocity", AnchorPolicy.FIXED, solver="unipc")
