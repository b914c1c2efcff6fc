"""The sampler does what diffusers' stochastic flow-matching scheduler does; its noise depends on its key alone."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from models import sampler
from models.sampler import Schedule


def test_the_schedule_is_warped_as_in_self_forcing() -> None:
    assert Schedule.warped((1000, 750, 500, 250), 5.0).sigmas == pytest.approx((1.0, 0.9375, 0.8333333, 0.625))


@pytest.mark.parametrize("steps", [(), (250, 500), (1000, 0), (1001,), (500, -1)])
def test_steps_that_do_not_fall_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps must fall"):
        Schedule.warped(steps, 5.0)


def test_a_rollout_of_steps_equals_the_stochastic_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas = Schedule.warped((1000, 750, 500, 250), 5.0).sigmas
    scheduler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    scheduler.set_timesteps(sigmas=list(sigmas))
    x = ours = torch.randn(1, 4, 3, 4, 4)
    velocity = lambda z, s: torch.sin(3 * z) + s  # noqa: E731
    drawn = [torch.randn_like(x) for _ in sigmas]
    noise = iter(drawn)
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_flow_match_euler_discrete.randn_tensor",
        lambda *a, **k: next(noise),
        raising=False,
    )
    monkeypatch.setattr(torch, "randn_like", lambda z: next(noise))
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(velocity(x, sigmas[i]), t, x).prev_sample
    for i, sigma in enumerate(sigmas):
        ours = sampler.predicted_x0(ours, velocity(ours, sigma), sigma, "velocity")
        if i + 1 < len(sigmas):
            ours = sampler.renoised(ours, drawn[i], sigmas[i + 1])
    torch.testing.assert_close(x, ours, atol=1e-5, rtol=1e-5)


def test_noise_depends_on_seed_chunk_and_step_alone() -> None:
    cpu = torch.device("cpu")
    a = sampler.noise(1, 2, 3, (4, 5), cpu)
    torch.manual_seed(99)
    torch.randn(7)
    assert torch.equal(a, sampler.noise(1, 2, 3, (4, 5), cpu))
    others = [sampler.noise(*key, (4, 5), cpu) for key in [(0, 2, 3), (1, 0, 3), (1, 2, 0), (12, 3, 3), (1, 23, 3)]]
    assert all(not torch.equal(a, b) for b in others)


def test_noise_is_standard_normal() -> None:
    n = sampler.noise(5, 0, 0, (64, 64, 16), torch.device("cpu"))
    assert abs(float(n.mean())) < 0.02
    assert abs(float(n.std()) - 1) < 0.02


def test_the_noise_of_a_knot_is_independent_of_its_chunks() -> None:
    shape, cpu = (64, 64, 16), torch.device("cpu")
    chunk, knot = (sampler.noise(5, 2, 1, shape, cpu, knot=knot) for knot in (False, True))
    assert torch.equal(knot, sampler.noise(5, 2, 1, shape, cpu, knot=True))
    assert abs(float(torch.corrcoef(torch.stack([chunk.flatten(), knot.flatten()]))[0, 1])) < 0.02
