"""Knots: what is denoised past the end of a chunk, held back and tied into the next."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import tiny_model

from models import knot
from models.cache import RingCache
from models.cache_shape import AnchorPolicy
from models.checkpoints.assemble import Model
from models.cue import Cut, Hush, Prompt
from models.sampler import renoised


def test_a_chunk_gets_the_same_noise_with_and_without_a_knot() -> None:
    noises = []
    for k in (0, 1, 2):
        generator = tiny_model(knot=k).generator
        noises.append(generator.noise(generator.new_take(5, 32, 32), 1))
    assert torch.equal(noises[0], noises[1][:, :, :3])
    assert torch.equal(noises[0], noises[2][:, :, :3])
    assert [n.shape[2] for n in noises] == [3, 4, 5]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_knot_has_noise_that_its_own_chunk_and_the_next_one_do_not_have(k: int) -> None:
    """Correlation over 4 x 32 x 32 values is 0 up to 0.05 for independent noise, and 1 for the same."""
    generator = tiny_model(knot=k).generator
    state = generator.new_take(5, 256, 256)
    noise, following = generator.noise(state, 0), generator.noise(replace(state, index=3), 0)
    for ahead in noise[:, :, 3:].unbind(2):
        for other in (*noise[:, :, :3].unbind(2), *following.unbind(2)):
            assert abs(float(torch.corrcoef(torch.stack([ahead.flatten(), other.flatten()]))[0, 1])) < 0.08


@pytest.mark.parametrize("k", [1, 2])
def test_a_held_knot_is_pinned_in_every_step_and_fused_after_the_last(k: int) -> None:
    model = tiny_model(knot=k)
    generator = model.generator
    state = generator.new_take(0, 32, 32)
    first = generator.draw(state, [Prompt("one")])
    held = state.knot
    assert first.shape[2] == 3
    assert held is not None
    assert held.shape[2] == k
    seen, answered = [], []
    forward = generator.transformer.forward

    def spied(x, *inputs, **named):  # type: ignore[no-untyped-def]
        out = forward(x, *inputs, **named)
        if named.get("head", True):
            seen.append(x.clone())
            answered.append(out.clone())
        return out

    generator.transformer.forward = spied  # type: ignore[method-assign]
    chunk = generator.draw(state)
    state_before = replace(state, index=3, knot=None)
    sigmas = generator.config.schedule.sigmas
    for step, (x, sigma) in enumerate(zip(seen, sigmas, strict=True)):
        noise = generator.noise(state_before, step)
        assert torch.equal(x[:, :, :k], renoised(held, noise[:, :, :k], sigma))
        assert x.shape[2] == 3 + k
    predicted = (seen[-1] - sigmas[-1] * answered[-1])[:, :, :k]
    assert state.disagreement is not None
    lean = min(1.0, knot.DISAGREEMENT / float(state.disagreement))
    for i, weight in enumerate(knot.ramp(k)):
        expected = weight * lean * held[:, :, i] + (1 - weight * lean) * predicted[:, :, i]
        torch.testing.assert_close(chunk[:, :, i], expected)


def test_the_ramp_is_the_papers_half_for_one_latent_and_falls_for_more() -> None:
    assert knot.ramp(1) == (0.5,)
    assert knot.ramp(2) == pytest.approx((2 / 3, 1 / 3))


def test_fusion_leans_to_the_new_prediction_where_the_two_disagree() -> None:
    x0 = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    near, apart = knot.fuse(x0, x0[:, :, :1] + 0.1, (0.5,))
    assert apart < knot.DISAGREEMENT
    torch.testing.assert_close(near[:, :, :1], x0[:, :, :1] + 0.05)
    far, apart = knot.fuse(x0, x0[:, :, :1] + 100, (0.5,))
    assert apart > 50
    assert (far[:, :, :1] - x0[:, :, :1]).abs().max() < 1.2


@pytest.mark.parametrize("policy", list(AnchorPolicy))
def test_a_knot_is_never_seen_by_a_clean_pass(policy: AnchorPolicy) -> None:
    """Its place in the cache is spoilt before every commit and every recache, and nothing changes."""
    takes = []

    def spoil(cache: RingCache) -> None:
        with torch.inference_mode():
            for layer in (*cache._keys, *cache._values):
                layer[:, : 2 * cache.shape.tokens] = float("nan")  # the buffer begins with the knot's place

    for spoilt in (False, True):
        model = tiny_model(policy, knot=2)
        generator = model.generator
        state, out = generator.new_take(0, 32, 32), []
        for i in range(8):
            if spoilt:
                spoil(state.cache)
            out.append(generator.draw(state, [Prompt("one" if i < 6 else "two")]))
            if spoilt:
                spoil(state.cache)
            generator.commit(state)
        takes.append(torch.cat(out, 2))
    assert not takes[0].isnan().any()
    assert torch.equal(*takes)


def test_a_prompt_keeps_the_knot_and_a_cut_drops_it() -> None:
    generator = tiny_model(knot=1).generator
    state = generator.new_take(0, 32, 32)
    generator.draw(state, [Prompt("one")])
    generator.apply_cues(state, [Prompt("two")])
    assert state.knot is not None
    generator.apply_cues(state, [Cut()])
    assert state.knot is None


@pytest.mark.parametrize("fusion", [(0.5, 0.5), (1.5,)])
def test_fusion_weights_that_do_not_fit_are_refused(model: Model, fusion: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fusion needs 1 weights from 0 to 1"):
        replace(model.entry.rollout, knot=1, fusion=fusion)
    with pytest.raises(ValueError, match="a knot has 0 to 3 latents"):
        replace(model.entry.rollout, knot=4)


def test_hushed_a_take_goes_on_without_the_knot_that_heard_too_much() -> None:
    """The chunk that follows is drawn as behind no knot; the past is the same."""
    model = tiny_model(knot=1)
    generator = model.generator
    state = generator.new_take(0, 32, 32)
    generator.draw(state, [Prompt("one")])
    generator.commit(state)
    before = generator.snapshot(state)
    tied = generator.draw(state)
    free = generator.restore(before)
    free.knot = None
    hushed = generator.restore(before)
    drawn = generator.draw(hushed, [Hush(7)])
    assert torch.equal(drawn, generator.draw(free))
    assert not torch.equal(drawn, tied)
    assert hushed.knot is not None
    with pytest.raises(ValueError, match="frame"):
        Hush(-1)
