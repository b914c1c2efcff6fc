"""What pocket-avatar is trained on is what the generator asks of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.faces import drawn, face_named
from models import sampler
from models.cache_shape import ReferenceRule
from models.catalog import AVATAR
from models.checkpoints.assemble import ASSETS, load, missing_files
from models.cue import Prompt
from models.pocket import train_avatar
from models.pocket.train_avatar import CHUNK, PROMPT, SLOTS, AvatarBatch, AvatarTeacher
from models.pocket.weights import load_transformer


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
    assert generator._encode_image is not None
    reference = generator._encode_image(torch.from_numpy(portrait))
    whole = [torch.cat([c, torch.zeros_like(c[:, :, :knot])], 2) for c in chunks]
    batch = AvatarBatch(
        whole,
        [torch.ones_like(w[:, :1]) for w in whole],
        drives,
        reference,
        first=0,
        gap=3,
        knot=knot,
        given=knot > 0,
    )
    given = iter(noises)
    monkeypatch.setattr(train_avatar, "noised", lambda clean, noise, sigma: next(given))
    held = [reference.repeat(1, 1, knot, 1, 1), *(k for k in knots[:-1] if k is not None)] if knot else whole
    with torch.no_grad():
        teacher = AvatarTeacher(*load_transformer(ASSETS / "pocket-avatar" / "transformer.safetensors"))
        predictions = teacher.predict_avatar(batch, whole, held, [torch.ones(1)] * SLOTS)
    for i, (prediction, chunk) in enumerate(zip(predictions, chunks, strict=True)):
        # the first latents are the mean of what was held and what is now expected
        found, asked = prediction[:, :, knot:CHUNK], chunk[:, :, knot:]
        torch.testing.assert_close(found, asked, atol=1e-4, rtol=0, msg=lambda m, i=i: f"chunk {i}: {m}")
