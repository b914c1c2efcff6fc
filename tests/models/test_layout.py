"""Layouts of training batches: what rows may see, what counts, and that all an inference asks for occurs."""

import numpy as np
import pytest
import torch

from models.pocket.training.batch import coupled, gather, loss_of
from models.pocket.training.clips import KNOT, LATENTS, NEVER, ClipStore
from models.pocket.training.layout import PAST, SLOTS, Layout, draw_layout


@pytest.fixture(scope="module")
def many() -> Layout:
    switch = np.array([NEVER, NEVER, 1, 2, 3, 4, 5, 3])
    twin = np.array([1, 0, -1, -1, -1, -1, -1, -1])
    return draw_layout(np.random.default_rng(0), 4000, switch, twin)


def store_of(clips: int, channels: int = 8) -> ClipStore:
    store = ClipStore(torch.nn.Identity(), clips, torch.device("cpu"))  # type: ignore[arg-type]
    torch.manual_seed(0)
    tensors = (
        torch.randn(clips, channels, LATENTS, 4, 4).half(),
        torch.rand(clips, LATENTS, 4, 4) < 0.2,
        torch.zeros(clips, 2, 6, 20, dtype=torch.int64),
        torch.randint(0, 2, (clips, 6)) * 2.0 - 1,
    )
    store.hold(tensors, np.full(clips, NEVER), np.full(clips, -1))
    return store


def test_no_latent_lies_outside_a_clip(many: Layout) -> None:
    for at in (many.clean_at, many.noisy_at):
        assert at.min() >= 0
        assert at.max() < LATENTS


def test_a_noisy_slot_never_sees_its_own_truth_or_what_follows(many: Layout) -> None:
    slots = torch.arange(SLOTS)[:, None]
    later = torch.arange(PAST).repeat_interleave(3) >= slots
    assert not (many.sees_noisy[..., : PAST * 3] & later).any()


def test_counted_slots_see_no_clean_slot_that_saw_their_truth(many: Layout) -> None:
    """A recached past is made jointly: what stands behind the border must not have told what stands before."""
    for slot in range(1, SLOTS):
        counted = many.counts[:, slot].any(1)
        seen = many.sees_noisy[:, slot, : PAST * 3].unflatten(1, (PAST, 3)).any(2)
        knows = many.sees_clean[:, :, 3 * slot :].any(2)
        assert not (seen & knows)[counted].any()


def test_every_token_sees_its_own_chunk(many: Layout) -> None:
    own_clean = many.sees_clean.unflatten(2, (PAST, 3)).diagonal(dim1=1, dim2=2)  # [B, 3, PAST]
    hidden = ~own_clean.all(1)
    assert not hidden.any()
    assert many.sees_noisy[..., PAST * 3 : PAST * 3 + 3].all()


def test_all_that_inference_asks_for_occurs(many: Layout) -> None:
    sink_seen = many.sees_noisy[:, 3, :3].sum(1)
    for length in (0, 1, 3):
        assert (sink_seen == length).float().mean() > 0.04
    distance = many.base[:, 1] - many.base[:, 0]
    assert (distance > 100).float().mean() > 0.05  # an anchor that stays where it was
    assert many.sourced.any()
    assert many.given[:, 0, 0].any()
    knots = many.sees_noisy[:, 0, -KNOT:].sum(1)
    assert set(knots.tolist()) == {0, 1, 2}
    newest_only = many.sees_noisy[:, 3, 6:9].sum(1) == 1
    assert newest_only.any()  # a flushed past
    assert many.counts.any((1, 2)).float().mean() > 0.95
    assert many.counts.float().mean() > 0.3


def test_noise_agrees_with_unsaid_bits() -> None:
    torch.manual_seed(0)
    bits = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    noise = coupled(torch.randn(2, 4, 3, 8, 8), bits)
    assert torch.equal(noise[:, :2].mean((2, 3, 4)).sign(), bits)
    assert abs(float(noise.std()) - 1) < 0.05


def test_a_perfect_prediction_costs_nothing_and_hidden_errors_do_not_count() -> None:
    store = store_of(4)
    layout = draw_layout(np.random.default_rng(1), 8, store.switch, store.twin)
    batch = gather(store, layout)
    assert loss_of(batch.target, batch) == 0
    wrong = batch.target + 5 * ~layout.counts[:, :, None, :, None, None]
    assert loss_of(wrong, batch) == 0
    assert loss_of(batch.target + 1, batch) > 0


def test_given_latents_stand_there_clean() -> None:
    store = store_of(4)
    layout = draw_layout(np.random.default_rng(1), 64, store.switch, store.twin)
    layout.sigma.fill_(1.0)
    batch = gather(store, layout)
    apart = (batch.noisy - batch.target).square().mean((2, 4, 5))
    assert apart[layout.given].max() < 0.1
    assert apart[~layout.given].min() > 0.5


def test_a_second_step_may_see_what_was_predicted() -> None:
    store = store_of(4)
    layout = draw_layout(np.random.default_rng(1), 64, store.switch, store.twin)
    first = gather(store, layout)
    own = torch.full_like(first.target, 100.0)
    clean = gather(store, layout, own).clean.unflatten(2, (PAST, 3))
    replaced = (clean > 50).all(1).all(2).all(2).all(2)
    assert 0.6 < replaced.float().mean() < 0.95
    assert not replaced[~layout.own].any()
