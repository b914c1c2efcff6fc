"""What pocket-avatar is trained on is what the generator asks of it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from models import sampler
from models.cache_shape import ReferenceRule
from models.catalog import AVATAR
from models.catalog import AVATAR_PROMPT as PROMPT
from models.checkpoints.assemble import ASSETS, load, load_tiny_codec, missing_files
from models.cue import Prompt
from models.pocket.training import avatar as train_avatar
from models.pocket.training.avatar import CHUNK, SLOTS, AvatarBatch, AvatarTeacher
from models.pocket.training.avatar_clips import AvatarClip
from models.pocket.training.avatar_rollout import TAKES, rollouts
from models.pocket.weights import load_transformer
from models.pocket.world.portrait.gallery import drawn, face_named


@pytest.mark.skipif(bool(missing_files(AVATAR, ASSETS)), reason="assets/pocket-avatar has no weights")
@pytest.mark.parametrize("knot", [0, 1, 2])
def test_a_pass_in_training_is_the_same_pass_at_inference(monkeypatch: pytest.MonkeyPatch, knot: int) -> None:
    model = load(AVATAR, ASSETS, torch.device("cpu"), torch.float32)
    config = replace(
        AVATAR.rollout, knot=knot, reference=ReferenceRule("gap", gap=3), schedule=sampler.Schedule((1.0,))
    )
    generator = model.generator.with_config(config)
    state, drives, noises, chunks, knots = generator.new_take(3, 128, 128), [], [], [], []
    draws = torch.Generator().manual_seed(1)
    for i in range(SLOTS):
        drives.append(torch.randn(1, CHUNK + knot, 7, 64, generator=draws))
        noises.append(generator.noise(state, 0))
        cues = [] if i else [Prompt(PROMPT), drawn(face_named("bo"))]
        chunks.append(generator.draw(state, cues, drives[-1]))
        knots.append(state.knot)
    portrait = np.frombuffer(drawn(face_named("bo")).pixels, np.uint8).reshape(1, 128, 128, 3).copy()
    reference = generator.codec.encode_image(torch.from_numpy(portrait))
    whole = [torch.cat([c, torch.zeros_like(c[:, :, :knot])], 2) for c in chunks]
    batch = AvatarBatch(
        whole,
        [torch.ones_like(w[:, :1]) for w in whole],
        drives,
        reference,
        first=0,
        gap=3,
        knot=knot,
        given=True,
    )
    given = iter(noises)
    monkeypatch.setattr(train_avatar, "noised", lambda clean, noise, sigma: next(given))
    held = [reference.repeat(1, 1, max(1, knot), 1, 1), *(whole[0][:, :, :0] if k is None else k for k in knots[:-1])]
    with torch.no_grad():
        teacher = AvatarTeacher(*load_transformer(ASSETS / "pocket-avatar" / "transformer.safetensors"))
        predictions = teacher.predict_avatar(batch, whole, held, [torch.ones(1)] * SLOTS)
    for i, (prediction, chunk) in enumerate(zip(predictions, chunks, strict=True)):
        # the first latents are the mean of what was held and what is now expected
        tied = knot if i else max(1, knot)
        found, asked = prediction[:, :, tied:CHUNK], chunk[:, :, tied:]
        torch.testing.assert_close(found, asked, atol=1e-4, rtol=0, msg=lambda m, i=i: f"chunk {i}: {m}")


@pytest.mark.skipif(bool(missing_files(AVATAR, ASSETS)), reason="assets/pocket-avatar has no weights")
def test_tuning_on_own_rollouts_repeats_the_chunk_that_is_drawn_with_gradients() -> None:
    folder, rng = ASSETS / "pocket-avatar", random.Random(2)
    pair, codec = load_transformer(folder / "transformer.safetensors"), load_tiny_codec(folder / "codec.safetensors")
    clips = [
        AvatarClip(*(torch.randn(s) for s in ((16, 18, 16, 16), (16, 1, 16, 16), (18, 16, 16), (18, 7, 64))))
        for _ in range(2)
    ]
    takes, student, compared = rollouts(pair, codec, clips, rng), AvatarTeacher(*pair), 0
    for _ in range(3):
        newest = next(takes)
        knot, first, held = newest.generator.config.knot, newest.state.index, newest.state.knot
        x0 = newest.drawn(student, 4)
        assert x0.shape == (TAKES, 16, CHUNK + knot, 16, 16)
        with torch.no_grad():
            seen = newest.seen_as(student, x0.detach(), torch.full((TAKES,), 0.1))
        assert seen.shape == x0.shape
        assert newest.state.index == first
        assert newest.state.knot is held
        following = next(takes)  # the generator has drawn the same chunk meanwhile
        if following.state is newest.state:
            drawn = following.state.recent[-1]
            torch.testing.assert_close(x0[:, :, :CHUNK], drawn, atol=1e-4, rtol=0)
            compared += 1
    assert compared
    (2 * x0).square().mean().backward()
    assert all(p.grad is not None for p in pair[0].blocks.parameters() if p.requires_grad)
