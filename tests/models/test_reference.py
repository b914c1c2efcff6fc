"""A take that stays true to an image and is driven: where the image stands in time, what sees it, what moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_avatar, tiny_model
from torch import Tensor

from models.cache import REFERENCE
from models.cache_shape import CacheShape, ReferenceRule
from models.checkpoints.assemble import Model
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import CueError, Cut, Prompt, Reference
from models.rope import rotation
from models.state import TakeState
from models.time_grid import TimeGrid


def picture(level: int) -> Reference:
    return Reference(bytes((level + 7 * i) % 256 for i in range(32 * 32 * 3)), 32, 32)


def drive_of(chunk: int, latents: int = 4) -> Tensor:
    """Return two driving tokens a latent, which depend on the latent's index alone."""
    rows = [torch.randn(2, 64, generator=torch.Generator().manual_seed(3 * chunk + i)) for i in range(latents)]
    return torch.stack(rows)[None]


def start(model: Model) -> TakeState:
    return model.generator.new_take(0, 32, 32)


def on(model: Model, state: TakeState, chunks: int, reference: Reference | None = None) -> Tensor:
    out = []
    for _ in range(chunks):
        chunk = state.index // 3
        cues = [Prompt("speaks"), reference or picture(0)] if chunk == 0 else []
        out.append(model.generator.draw(state, cues, drive_of(chunk, 3 + model.entry.rollout.knot)))
        model.generator.commit(state)
    return torch.cat(out, 2)


@pytest.mark.parametrize("newest", range(3, 40))
def test_a_reference_always_stands_in_front(newest: int) -> None:
    for gap in (1, 4):
        assert ReferenceRule("gap", gap=gap).coordinate(newest, 3) == newest + gap
        assert ReferenceRule("fixed", gap=gap).coordinate(newest, 3) == 3 + gap
    rule, n = ReferenceRule("stride", start=8, stride=4), 8
    while newest + 1 > n:  # the paper's loop, i + c + k > n
        n += 4
    assert rule.coordinate(newest, 3) == n
    assert n > newest


@pytest.mark.parametrize("policy", ["fixed", "gap", "stride"])
def test_its_keys_in_the_cache_are_rotated_to_where_it_stands(policy: str) -> None:
    rule = ReferenceRule(policy)  # type: ignore[arg-type]
    model = tiny_avatar(rule=rule)
    state = start(model)
    on(model, state, 5)
    with torch.inference_mode():
        state.cache.begin(state.index, 3)
        keys, values = state.cache.past()
    anchor = state.cache.anchors[REFERENCE]
    where = rotation([rule.coordinate(state.index + 3, 3)], 2, 2, 24, torch.device("cpu"))
    for layer, (k, v) in enumerate(anchor.layers):
        torch.testing.assert_close(keys[layer, :, :4], where(k))
        assert torch.equal(values[layer, :, :4], v)


def test_another_image_is_another_take_and_the_same_is_the_same() -> None:
    model = tiny_avatar()
    a, b, c = (on(model, start(model), 4, picture(level)) for level in (0, 0, 90))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_new_image_drops_the_knot_and_keeps_the_past() -> None:
    model = tiny_avatar()
    state = start(model)
    on(model, state, 3)
    pieces = state.cache.snapshot().pieces
    model.generator.apply_cues(state, [picture(50)])
    assert state.knot is None
    assert state.cache.snapshot().pieces == pieces


@pytest.mark.parametrize("knot", [0, 1, 2])
def test_a_take_begins_as_the_image(knot: int) -> None:
    model = tiny_avatar(knot=knot)
    state, inputs = start(model), []
    model.generator.apply_cues(state, [Prompt("speaks"), picture(50)])
    transformer = model.generator.transformer.forward
    model.generator.transformer.forward = lambda x, *a, **k: inputs.append(x.clone()) or transformer(x, *a, **k)  # type: ignore[method-assign]
    model.generator.draw(state, [], drive_of(0, 3 + knot))
    pixels = torch.frombuffer(bytearray(picture(50).pixels), dtype=torch.uint8).view(1, 32, 32, 3)
    latent = model.generator.codec.encode_image(pixels)
    for x in inputs:  # at every step, and the mask says so
        given = max(1, knot)
        assert (x[:, -1].mean((0, 2, 3)) == torch.tensor([1.0] * given + [0.0] * (3 + knot - given))).all()
        assert torch.equal(x[:, :-1, :given], latent.expand(-1, -1, given, -1, -1))
    assert len(inputs) == len(model.generator.config.schedule.sigmas)
    assert (state.knot is None) == (knot == 0)


def test_a_cut_keeps_the_image() -> None:
    model = tiny_avatar()
    state = start(model)
    on(model, state, 3)
    model.generator.draw(state, [Cut()], drive_of(3))
    assert REFERENCE in state.cache.anchors


def test_a_latent_hears_its_own_drive_and_not_its_neighbours() -> None:
    """Within one pass the last latent's drive reaches the others only through self-attention, in the layer after."""
    transformer = tiny_avatar().generator.transformer
    assert transformer.driving_attention is not None
    x = torch.randn(1, 4 * 4, 48)
    a, b = drive_of(0), drive_of(0)
    b[:, 3] += 1
    ra, rb = (transformer.driving_attention(0, x, transformer.driving_attention.embed(d)) for d in (a, b))
    assert torch.equal(ra[:, :12], rb[:, :12])
    assert not torch.allclose(ra[:, 12:], rb[:, 12:])


def test_drive_moves_the_take_from_where_it_changes() -> None:
    model = tiny_avatar()
    takes = []
    for loud in (0.0, 2.0):
        state, out = start(model), []
        for chunk in range(4):
            drive = drive_of(chunk) + (loud if chunk == 2 else 0)
            out.append(model.generator.draw(state, [Prompt("x"), picture(0)] if chunk == 0 else [], drive))
        takes.append(torch.cat(out, 2))
    assert torch.equal(takes[0][:, :, :6], takes[1][:, :, :6])
    assert not torch.allclose(takes[0][:, :, 6:9], takes[1][:, :, 6:9])


def test_given_latents_are_marked_and_clean_for_a_model_with_a_mask_channel() -> None:
    model = tiny_avatar(knot=2)
    state = start(model)
    on(model, state, 1)
    held, seen = state.knot, []
    forward = model.generator.transformer.forward

    def spied(x, *inputs, **named):  # type: ignore[no-untyped-def]
        seen.append((x.clone(), named.get("head", True)))
        return forward(x, *inputs, **named)

    model.generator.transformer.forward = spied  # type: ignore[method-assign]
    model.generator.draw(state, [], drive_of(1, 5))
    model.generator.commit(state)
    for x, denoising in seen[:-1]:
        assert denoising
        assert torch.equal(x[:, :4, :2], held)
        assert x[0, 4].mean((1, 2)).tolist() == [1, 1, 0, 0, 0]
    assert seen[-1][0][0, 4].mean((1, 2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("policy", ["gap", "stride"])
def test_shifting_all_coordinates_changes_nothing(policy: str) -> None:
    takes = []
    for shift in (0, 99_999):  # a multiple of the chunk
        stride = ReferenceRule(policy, start=8 + shift) if policy == "stride" else ReferenceRule()
        model = tiny_avatar(rule=stride)
        state = start(model)
        state.cache.clear(shift)
        real = state.cache.begin
        state.cache.begin = lambda first, n, *, clean=False, s=shift, f=real: f(first + s, n, clean=clean)  # type: ignore[method-assign]
        takes.append(on(model, state, 7))
    torch.testing.assert_close(takes[0], takes[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunks", [1, 4])
def test_a_snapshot_in_a_file_goes_on_to_the_bit(tmp_path: Path, chunks: int) -> None:
    model = tiny_avatar()
    state = start(model)
    on(model, state, chunks)
    save_snapshot(model.generator.snapshot(state), tmp_path / "s.safetensors")
    again = model.generator.restore(load_snapshot(tmp_path / "s.safetensors", model.generator.device, torch.float32))
    assert torch.equal(on(model, state, 4), on(model, again, 4))


def test_what_makes_no_sense_is_refused_with_a_reason() -> None:
    plain, avatar = tiny_model(), tiny_avatar()
    with pytest.raises(CueError, match="stays true to no image"):
        plain.generator.draw(start(plain), [Prompt("x"), picture(0)])
    with pytest.raises(CueError, match="needs an image"):
        avatar.generator.draw(start(avatar), [Prompt("x")], drive_of(0))
    with pytest.raises(CueError, match="the image is 64x32, the take 32x32"):
        avatar.generator.draw(start(avatar), [Prompt("x"), Reference(bytes(64 * 32 * 3), 64, 32)], drive_of(0))
    with pytest.raises(CueError, match="needs a drive"):
        avatar.generator.draw(start(avatar), [Prompt("x"), picture(0)])
    with pytest.raises(CueError, match="no other can have one"):
        plain.generator.draw(start(plain), [Prompt("x")], drive_of(0))
    with pytest.raises(ValueError, match="start is 4 or more"):
        CacheShape(1, 1, 24, 2, 2, TimeGrid(3, 3), 6, 0, knot=1, reference=ReferenceRule("stride", start=3))
    with pytest.raises(ValueError, match="at least one latent"):
        ReferenceRule(gap=0)
