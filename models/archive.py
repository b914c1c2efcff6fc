"""Keep clean latents of earlier chunks, so that a scene can be recalled: they become the past, and are recached.

Latents are kept and no keys: a chunk's keys take hundreds of times more memory, are made anew by one clean pass, and
are then those of the prompt that holds. They stay on the take's device, as a copy to the host would be waited for.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from models.cue import CueError
from models.kept_scene import KeptScene
from models.state import TakeState

EVERY = 8  # chunks, of which one is kept, so that every point of a long scene is near to something kept
CHUNKS = 3  # at the end of a scene: all that the next chunk would see
BUDGET = 64 << 20  # bytes of one take's archive
SAME = 0.9  # cosine of two prompts' vectors from which on they mean the same scene


def keep_chunk(state: TakeState, number: int) -> None:
    """Keep the newest chunk, which has this number, if it begins a scene or is one of EVERY."""
    n = state.recent[-1].shape[2]
    if state.index - n == state.scene or number % EVERY == 0:
        _keep(state, 1)


def end_scene(state: TakeState) -> None:
    """Keep the newest chunks of the scene that ends here; the next one begins."""
    if state.recent and state.index > state.scene:
        _keep(state, CHUNKS)
    state.scene = state.index


def found(state: TakeState, latent: int) -> KeptScene:
    """Return what is kept of the scene that stood at a latent, at its end if it has one; CueError if nothing is."""
    if latent >= state.index:
        raise CueError(f"latent {latent} cannot be recalled: the take has {state.index} latents so far")
    began = max((s.began for s in state.archive if s.began <= latent), default=None)
    if began is None or (latent >= state.scene != began):
        kept = ", ".join(str(b) for b in sorted({s.began for s in state.archive})) or "none"
        raise CueError(f"nothing is kept of the scene at latent {latent}; there are scenes from latent {kept}")
    of_it = [s for s in state.archive if s.began == began]
    return max(of_it, key=lambda s: (len(s.chunks), -abs(s.stop - latent)))


def meant(state: TakeState, embeddings: Tensor, window: int) -> KeptScene | None:
    """Return the newest earlier scene whose prompt means what these text embeddings [batch, L, D] do; None if none.

    The present scene does not count, nor what is still within the window.
    """
    wanted = pooled(embeddings)
    earlier = [s for s in state.archive if s.began != state.scene and s.stop <= state.index - window]
    earlier = [s for s in earlier if s.vector.shape == wanted.shape]
    if not earlier:
        return None
    alike = torch.stack([s.vector @ wanted for s in earlier]).tolist()
    nearest, began = max(zip(alike, (s.began for s in earlier), strict=True))
    return found(state, began) if nearest >= SAME else None


def pooled(embeddings: Tensor) -> Tensor:
    """Return a vector of length 1 for text embeddings [batch, L, D]: their mean over positions that hold a word."""
    words = embeddings.float()
    held = words.abs().amax(2, keepdim=True) > 0
    mean = (words * held).sum(1) / held.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean.flatten(), dim=0)


def _keep(state: TakeState, chunks: int) -> None:
    if state.text is None or state.prompt is None:
        return
    newest: list[Tensor] = []
    for chunk in reversed(state.recent):
        if len(newest) == chunks or state.index - sum(c.shape[2] for c in [*newest, chunk]) < state.scene:
            break
        newest.insert(0, chunk)
    kept = tuple(chunk.to(torch.float16, memory_format=torch.contiguous_format, copy=True) for chunk in newest)
    scene = KeptScene(state.scene, state.index, state.prompt, pooled(state.text.embeddings), kept)
    same = [s for s in state.archive if not (s.began == scene.began and s.stop == scene.stop)]
    state.archive = _within_budget([*same, scene])


def _within_budget(scenes: Iterable[KeptScene]) -> tuple[KeptScene, ...]:
    """Return the scenes within BUDGET bytes: single chunks go first, the oldest before others, the first one never."""
    kept = list(scenes)
    total = sum(s.bytes for s in kept)
    for gone in sorted(kept[1:-1], key=lambda s: (len(s.chunks) > 1, s.stop)):
        if total <= BUDGET:
            break
        kept.remove(gone)
        total -= gone.bytes
    return tuple(kept)
