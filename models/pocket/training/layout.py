"""Lay out a training batch: which latents of which clips, what sees what, and which errors count.

A row is four chunks of a clip, its slots: the first, then three neighbours. Slots 0 to 2 also occur clean, as the past
that later slots see. Everything that inference may ask for occurs among the rows, in the shares below: knots, sinks of
several lengths or none, both anchor policies, windows cut short or flushed, switches with and without recache, a start
image that is given, a source to draw over, and a past recalled from further back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.pocket.training.clips import CHUNK, CHUNKS, KNOT, LATENTS, WORDINGS

SLOTS, PAST = 4, 3  # chunks of a row; how many of them stand there clean as well
SIGMAS = (1.0, 0.9, 0.75, 0.5)

SOURCE, GIVEN, RECALLED, SHORT = 0.16, 0.10, 0.06, 0.10  # shares of rows
MOVED = 0.10  # share of the other rows that begin amid a clip, as a film that is gone on from may
HELD = 0.10  # share of later slots whose first latent is given, as a held knot may be


@dataclass(frozen=True)
class Layout:
    """Hold B rows; int64, float32 or bool arrays, on the host or as tensors on a device."""

    clip: Tensor  # [B] clip of the row
    source: Tensor  # [B] clip that noised latents are made from where `sourced`
    sourced: Tensor  # [B] bool
    clean_at: Tensor  # [B, PAST, CHUNK] latents of the clip
    noisy_at: Tensor  # [B, SLOTS, CHUNK + K] latents of the clip, a knot behind each chunk
    base: Tensor  # [B, SLOTS] temporal coordinate of a slot's first latent
    sees_clean: Tensor  # [B, PAST, PAST * CHUNK] bool: the clean latents that a clean slot sees
    sees_noisy: Tensor  # [B, SLOTS, PAST * CHUNK + CHUNK + K] bool: a noisy slot sees clean latents, then its own
    prompts: Tensor  # [B, 2, 2]: scene and wording of the two captions of a row
    prompt_of_clean: Tensor  # [B, PAST] which of the two a clean slot is told
    prompt_of_noisy: Tensor  # [B, SLOTS]
    sigma: Tensor  # [B, SLOTS] float32
    given: Tensor  # [B, SLOTS, CHUNK + K] bool: latents that stand there clean among the noisy ones
    counts: Tensor  # [B, SLOTS, CHUNK + K] bool: where the loss counts
    own: Tensor  # [B, PAST] bool: clean slots that may be replaced by what the network predicted for them

    def to(self, device: torch.device) -> Layout:
        """Return the rows as tensors on a device; on CUDA the copies do not hold up the host."""
        moved = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            moved[field.name] = (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
        return Layout(**moved)

    def again(self, rng: np.random.Generator) -> Layout:
        """Return the same rows with new noise levels, for a second step over them."""
        return replace(self, sigma=torch.from_numpy(_sigmas(rng, self.sourced.numpy())))


def _sigmas(rng: np.random.Generator, sourced: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Draw noise levels [B, SLOTS]: of the few-step schedule for 70 % of the slots, any for the rest.

    Rows with a source start from the middle of the way, at .45 to .95.
    """
    shape = (len(sourced), SLOTS)
    u = rng.random(shape)
    spread = 3 * u / (1 + 2 * u)
    sigma = np.where(rng.random(shape) < 0.7, rng.choice(SIGMAS, shape), spread)
    source = np.where(rng.random(shape) < 0.5, rng.choice(SIGMAS[1:], shape), rng.uniform(0.45, 0.95, shape))
    return np.where(sourced[:, None], source, sigma).astype(np.float32)


def draw_layout(
    rng: np.random.Generator,
    rows: int,
    switch: NDArray[np.int64],
    twin: NDArray[np.int64],
    knot: int = KNOT,
    knots: Sequence[int] = (0, 0, 1, 2),
) -> Layout:
    """Lay out `rows` rows over the clips described by `switch` and `twin` [clips].

    `knot` is the room for one behind every chunk; each row draws how much of it is used from `knots`.
    """
    B, K, F = rows, knot, CHUNK
    clip = rng.integers(0, len(switch), B)
    kind = rng.random(B)
    sourced = (kind < SOURCE) & (twin[clip] >= 0)
    kind_given = (kind >= SOURCE) & (kind < SOURCE + GIVEN)
    recalled = (kind >= SOURCE + GIVEN) & (kind < SOURCE + GIVEN + RECALLED)
    short = (kind >= SOURCE + GIVEN + RECALLED) & (kind < SOURCE + GIVEN + RECALLED + SHORT)
    length = np.minimum(rng.choice(knots, B), K)  # of the row's knot
    sink = rng.choice([3, 3, 3, 3, 3, 3, 1, 0], B)
    sink = np.where(recalled | short, np.where(rng.random(B) < 0.85, 3, 0), sink)
    far = np.where(rng.random(B) < 0.25, (3 * 10 ** rng.uniform(0, 3, B)).astype(np.int64), -1)  # anchor: fixed

    # where the slots stand in the clip, in latents
    plain = (switch[clip] >= CHUNKS) & ~recalled & ~short
    moved = sourced | (plain & (rng.random(B) < np.where(kind_given, 0.5, MOVED)))
    first = np.where(moved, 1, rng.choice([1, 1, 1, 2, 3], B))
    offset = np.where(moved, rng.integers(0, LATENTS - SLOTS * F - K + 1, B), 0)
    slots = np.arange(SLOTS)
    chunk = np.where(slots[None] == 0, 0, first[:, None] + slots[None] - 1)  # [B, SLOTS]
    start = F * chunk + offset[:, None]
    noisy_at = start[:, :, None] + np.arange(F + K)
    clean_at = noisy_at[:, :PAST, :F].copy()
    earlier = F * rng.integers(0, np.maximum(1, first))  # a recalled chunk stands in slot 1's place
    clean_at[recalled, 1] = earlier[recalled, None] + np.arange(F)

    # a switch of the scene: in which slot the new one begins, and what becomes of the past then
    after = chunk >= switch[clip][:, None]
    begins = np.where(after.any(1), after.argmax(1), SLOTS)
    way = rng.random(B)
    switched = (begins > 0) & (begins < SLOTS)
    recache = switched & (way < 0.6)
    flush = (switched & (way >= 0.9)) | (short & (rng.random(B) < 0.5) & ~switched)
    border = np.where(switched, begins, PAST)  # the slot in front of which a past is recached or cut short
    before = slots[None] < border[:, None]
    sink_stays = rng.random(B) < 0.4  # a recache leaves a sink of the old scene alone

    # what sees what: clean slots causally, recached ones each other
    latent_slot = np.repeat(np.arange(PAST), F)  # slot of each clean latent
    in_slot = np.tile(np.arange(F), PAST)
    sees_clean = np.repeat(latent_slot[None, None] <= np.arange(PAST)[None, :, None], B, 0)
    lone_sink = recache & sink_stays & (border > 1)
    jointly = before[:, :PAST]
    both = jointly[:, :, None] & jointly[:, latent_slot][:, None]
    both &= ~(lone_sink[:, None, None] & (np.arange(PAST) == 0)[None, :, None] & (latent_slot > 0)[None, None])
    sees_clean |= recache[:, None, None] & both
    sees_past = np.repeat(latent_slot[None, None] < slots[None, :, None], B, 0)  # [B, SLOTS, PAST * F]
    # a sink: its first latents only, or none, for all but its own slot
    dropped = (latent_slot == 0)[None] & (in_slot[None] >= sink[:, None])  # [B, PAST * F]
    sees_past &= ~dropped[:, None]
    sees_clean &= ~(dropped[:, None] & (np.arange(PAST) > 0)[None, :, None])
    # short windows: in front of the border nothing but the sink and the newest latents of the past
    cut = flush | short
    keep = np.where(flush, 1, F)  # latents of the newest chunk that stay
    newest = border - 1
    age_cut = (latent_slot[None] > 0) & (
        (latent_slot[None] < newest[:, None])
        | ((latent_slot[None] == newest[:, None]) & (in_slot[None] < F - keep[:, None]))
    )
    late = slots[None] >= border[:, None]
    sees_past &= ~(cut[:, None, None] & late[:, :, None] & age_cut[:, None])
    sees_clean &= ~(cut[:, None, None] & late[:, :PAST, None] & age_cut[:, None])

    # coordinates: neighbours count on from slot 1; the sink stands just before the oldest latent seen, or far away
    oldest = np.where(cut & (newest > 0), F * newest - keep, 0)  # relative to slot 1
    trailing = -sink + oldest
    base = np.zeros((B, SLOTS), np.int64)
    base[:, 1:] = F * np.arange(SLOTS - 1)
    base[:, 0] = np.where(far >= 0, -F - far, np.where(sink > 0, trailing, -F))

    # prompts
    prompt_of_noisy = after.astype(np.int64)
    prompt_of_clean = prompt_of_noisy[:, :PAST].copy()
    renewed = recache[:, None] & before[:, :PAST]
    renewed[:, 0] &= ~lone_sink
    prompt_of_clean |= renewed
    # a switch that lies in front of all slots but the first: the past may have been recached long ago
    long_ago = (begins == 1) & (first > 1)
    prompt_of_clean[:, 0] |= long_ago & (way < 0.5)
    wording = rng.integers(0, WORDINGS, (B, 2))
    prompts = np.stack([np.tile([0, 1], (B, 1)), wording], -1)

    # given latents
    given = np.zeros((B, SLOTS, F + K), bool)
    given[:, 0, 0] = kind_given
    given[:, 0, 1] = kind_given & (rng.random(B) < 0.15)
    given[:, 1:, 0] = (rng.random((B, SLOTS - 1)) < HELD) & (length > 0)[:, None] & ~sourced[:, None]

    # what the loss counts
    knot_used = np.arange(F + K)[None] < F + length[:, None]  # [B, F + K]
    good = np.ones((B, SLOTS), bool)
    good[:, 1] &= ~((first > 1) | (far >= 0) | (sink < F))  # a chunk behind a gap has no true past
    unsure = recache | cut  # between the first slot and the border the past is not as it would have been
    good &= ~(unsure[:, None] & before & (slots > 0)[None])
    good[recalled, 2] = False
    good[:, 0] &= ~moved | sourced | kind_given  # nothing says when it begins
    ends_in_switch = (length > 0)[:, None] & (chunk + 1 == switch[clip][:, None])
    good &= ~ends_in_switch  # a knot does not know yet of a switch behind it
    counts = good[:, :, None] & knot_used[:, None] & ~given

    own_knot = np.repeat(knot_used[:, None, F:], SLOTS, 1)
    sees_own = np.concatenate([np.ones((B, SLOTS, F), bool), own_knot], 2)
    own = np.ones((B, PAST), bool)
    own[recalled, 1] = False
    assert chunk.max() < CHUNKS
    return Layout(
        **{
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in {
                "clip": clip,
                "source": np.where(sourced, twin[clip], clip),
                "sourced": sourced,
                "clean_at": clean_at,
                "noisy_at": noisy_at,
                "base": base,
                "sees_clean": sees_clean,
                "sees_noisy": np.concatenate([sees_past, sees_own], 2),
                "prompts": prompts,
                "prompt_of_clean": prompt_of_clean,
                "prompt_of_noisy": prompt_of_noisy,
                "sigma": _sigmas(rng, sourced),
                "given": given,
                "counts": counts,
                "own": own,
            }.items()
        }
    )
