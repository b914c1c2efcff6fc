"""Draw the clips that the transformer is trained on, in pairs and by other processes; keep them there as latents.

A pair shows one world twice. One half of the pairs are twins: the same motion, phase and unsaid facts under another
prompt, so that one can be the source that the other is drawn over (video to video). The clips of other pairs are
independent, and each changes its scene at a chunk border.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.codecs.tiny import TinyCodec
from models.pocket.training.network import token_ids
from models.pocket.weights import encoder_digest
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import WORDING, Scene, changed_scene, random_scene, unsaid_bits, vocabulary

CHUNK, CHUNKS, KNOT = 3, 6, 2  # latents of a chunk, whole chunks of a clip, latents of the longest knot
LATENTS = CHUNK * CHUNKS + KNOT
CELLS = 16  # of a latent, across and down
FRAMES = 4 * (LATENTS - 1) + 1
NEVER = CHUNKS  # the switch of a clip that keeps its scene
WORDINGS = 6  # captions kept for each scene
TWIN_CHANGES = tuple(name for name in WORDING if name not in ("motion", "side"))  # what leaves a subject's path alone
SUBJECT_WEIGHT, SUBJECT_REACH = 5.0, 0.26  # of the loss near the subject; distance from its centre, of the picture


@dataclass(frozen=True)
class ClipFacts:
    """Hold what is known of a clip besides its frames."""

    captions: NDArray[np.int64]  # token ids [2 scenes, WORDINGS, TEXT_LENGTH]
    bits: tuple[int, ...]  # of the unsaid facts, +1 or -1
    switch: int  # first chunk of the second scene, NEVER if there is none
    twin: bool  # whether the other clip of the pair can be its source


def twin_of(scene: Scene, rng: random.Random) -> Scene:
    """Return a scene whose subject takes the same path, with one to three other attributes changed."""
    while True:
        chosen = rng.sample(TWIN_CHANGES, rng.randint(1, 3))
        if not {"colour", "subject"} & set(chosen) and rng.random() < 0.7:
            continue
        values = {name: rng.choice([v for v in WORDING[name] if v != getattr(scene, name)]) for name in chosen}
        new = replace(scene, **values)
        if not new.held_out:
            return new


def draw_pair(
    rng: random.Random, size: int = 256
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.float32]], tuple[ClipFacts, ClipFacts]]:
    """Draw frames [2, FRAMES, size, size, 3] uint8, subject centres [2, FRAMES, 2] in 0..1 and both clips' facts."""
    first, twins = random_scene(rng), rng.random() < 0.5
    second = twin_of(first, rng) if twins else random_scene(rng)
    drawn, facts = [], []
    for scene in (first, second):
        switch = NEVER if twins else rng.randrange(1, CHUNKS)
        after = changed_scene(scene, rng)
        beats = [Beat(0, scene)] + ([Beat(4 * CHUNK * switch - 3, after)] if switch < NEVER else [])
        drawn.append(draw_clip(beats, FRAMES, size))
        prompts = [s.caption(rng) for s in (scene, after) for _ in range(WORDINGS)]
        ids = token_ids(vocabulary(), prompts).unflatten(0, (2, WORDINGS)).numpy()
        facts.append(ClipFacts(ids, unsaid_bits(scene), switch, twins))
    return (np.stack([c for c, _ in drawn]), np.stack([p for _, p in drawn])), (facts[0], facts[1])


class ClipStore:
    """Hold latents of up to `capacity` clips and what belongs to them, all on one device; `add` adds some.

    `latents` [capacity, C, LATENTS, h, w] float16, `near` [capacity, LATENTS, h, w] bool, `captions`
    [capacity, 2, WORDINGS, TEXT_LENGTH] int64, `bits` [capacity, n] float32. `switch` and `twin` (index of a clip, or
    -1) are kept on the host, where batches are laid out.
    """

    def __init__(self, codec: TinyCodec, capacity: int, device: torch.device) -> None:
        self.codec, self.device, self.ready = codec, device, 0
        self.switch = np.full(capacity, NEVER)
        self.twin = np.full(capacity, -1)
        self._tensors: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self.capacity = capacity

    @property
    def latents(self) -> Tensor:
        return self._all[0]

    @property
    def near(self) -> Tensor:
        return self._all[1]

    @property
    def captions(self) -> Tensor:
        return self._all[2]

    @property
    def bits(self) -> Tensor:
        return self._all[3]

    @property
    def _all(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self._tensors is None:
            raise RuntimeError("the store holds no clip yet")
        return self._tensors

    def hold(
        self, tensors: tuple[Tensor, Tensor, Tensor, Tensor], switch: NDArray[np.int64], twin: NDArray[np.int64]
    ) -> None:
        """Take over a whole store's tensors (latents, near, captions, bits) and facts."""
        self._tensors, self.switch, self.twin, self.ready = tensors, switch, twin, len(twin)

    @torch.no_grad()
    def add(self, frames: Tensor, centres: Tensor, facts: Sequence[ClipFacts]) -> None:
        """Encode clips [n, FRAMES, H, W, 3] uint8, whole pairs in order; those beyond the capacity are dropped."""
        n = min(len(frames), self.capacity - self.ready)
        if n < 2:
            return
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            z = self.codec.encode(as_encoder_input(frames[:n].to(self.device, non_blocking=True))).half()
        captions = torch.from_numpy(np.stack([f.captions for f in facts[:n]]))
        bits = torch.tensor([f.bits for f in facts[:n]], dtype=torch.float32)
        near = near_subject(centres[:n], z.shape[-2:])
        fresh = (z, near, captions, bits)
        if self._tensors is None:
            a, b, c, d = (torch.zeros((self.capacity, *t.shape[1:]), dtype=t.dtype, device=self.device) for t in fresh)
            self._tensors = (a, b, c, d)
        there = slice(self.ready, self.ready + n)
        for kept, new in zip(self._tensors, fresh, strict=True):
            kept[there] = new.to(self.device, non_blocking=True)
        self.switch[there] = [f.switch for f in facts[:n]]
        others = [(self.ready + i) ^ 1 for i in range(n)]
        if self.device.type == "cuda":  # a batch of another stream may use them from here on
            torch.cuda.current_stream(self.device).synchronize()
        self.twin[there] = [o if f.twin and o < self.ready + n else -1 for o, f in zip(others, facts[:n], strict=True)]
        self.ready += n


def prepared(codec: TinyCodec, count: int | None, seed: int, device: torch.device, file: Path) -> ClipStore:
    """Return a store of `count` clips (800), drawn and encoded here, or as an earlier call left them in `file`.

    What lies in `file` serves if it was made by the same encoder and holds as many clips as are asked for.
    """
    encoder = encoder_digest(codec)
    kept = torch.load(file, weights_only=True) if file.exists() else {}
    if kept.get("encoder") == encoder and "twin" in kept and count in (None, len(kept["twin"])):
        store = ClipStore(codec, len(kept["twin"]), device)
        a, b, c, d = (t.to(device) for t in kept["tensors"])
        store.hold((a, b, c, d), kept["switch"].numpy(), kept["twin"].numpy())
        return store
    store, rng = ClipStore(codec, 2 * -(-(count or 800) // 2), device), random.Random(seed)
    size = CELLS * codec.config.spatial_stride
    while store.ready < store.capacity:
        (frames, centres), facts = draw_pair(rng, size)
        store.add(torch.from_numpy(frames), torch.from_numpy(centres), facts)
    tensors = [t.cpu() for t in (store.latents, store.near, store.captions, store.bits)]
    switch, twin = torch.from_numpy(store.switch), torch.from_numpy(store.twin)
    torch.save({"encoder": encoder, "tensors": tensors, "switch": switch, "twin": twin}, file)
    return store


def as_encoder_input(frames: Tensor) -> Tensor:
    """Return clips [n, T, H, W, 3] uint8 as [n, T + 3, 3, H, W] in 0..1, the first frame four times for its latent."""
    lead = frames[:, :1].expand(-1, 3, -1, -1, -1)
    return torch.cat([lead, frames], 1).movedim(-1, -3).float() / 255


def near_subject(centres: Tensor, cells: Sequence[int]) -> Tensor:
    """Mark cells around the subject of each latent: centres [n, FRAMES, 2] in 0..1 → [n, LATENTS, h, w] bool.

    A subject that leaves the picture on one side comes back on the other.
    """
    height, width = cells
    across, down = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    at = centres[:, ::4].cpu()
    near_x = ((across - at[..., :1] + 0.5) % 1 - 0.5).abs() < SUBJECT_REACH
    near_y = (down - at[..., 1:]).abs() < SUBJECT_REACH
    return near_y[..., :, None] & near_x[..., None, :]
