"""List the (queries, past) pairs that occur in a model's takes, in tokens: a compiled engine has a profile for each."""

from __future__ import annotations

from dataclasses import dataclass

from models.checkpoints.assemble import Model
from models.rollout_config import RolloutConfig


@dataclass(frozen=True)
class Boundary:
    """Describe a take between two chunks as far as sizes go, in latents."""

    drawn: int  # since the start or the newest cut; counted no further than one more than a window
    visible: int  # latents in the ring
    at_start: bool = False  # nothing has been drawn at all, so that the first chunk comes next


def occurring(model: Model, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return every pair of one size of picture (width, height), fewest queries first."""
    r, tokens = model.generator.config, tokens_of(model, size)
    anchor = 1 if r.reference else 0
    pairs = {(q, past + anchor) for q, past in _pairs(r)}
    if r.reference and model.generator.transformer.driving_attention is None:
        pairs.add((1, 0))  # the pass over a portrait, which torch runs for a driven model
    return sorted((q * tokens, past * tokens) for q, past in pairs)


def _pairs(r: RolloutConfig) -> set[tuple[int, int]]:
    """Return (queries, past) in latents, without a reference, by going to every boundary that a take can come to."""
    pairs: set[tuple[int, int]] = set()
    known, new = set[Boundary](), [Boundary(0, 0, at_start=True)]
    while new:
        boundary = new.pop()
        if boundary not in known:
            known.add(boundary)
            new += [_drawn(r, boundary, pairs), *_switched(r, boundary, pairs)]
    return pairs


def _drawn(r: RolloutConfig, boundary: Boundary, pairs: set[tuple[int, int]]) -> Boundary:
    """Add the pairs of a chunk, denoised and clean; return the boundary behind it."""
    n = r.grid.first_chunk if boundary.at_start else r.chunk
    sink = min(r.sink, boundary.drawn)
    own = max(0, n - (r.sink - sink))  # of the chunk's latents, those that go to the ring
    visible = min(boundary.visible, r.window - r.sink - own)
    pairs |= {(n + r.knot, sink + visible), (n, sink + visible)}
    return Boundary(min(boundary.drawn + n, r.window + 1), visible + own)


def _switched(r: RolloutConfig, boundary: Boundary, pairs: set[tuple[int, int]]) -> list[Boundary]:
    """Add the pairs of a recache in either way; return the boundaries after a flush, a cut and these recaches."""
    drawn, ring = boundary.drawn, r.window - r.sink
    if not drawn:
        return []
    after = [Boundary(drawn, min(boundary.visible, 1)), Boundary(0, 0)]
    if drawn <= r.window:
        pairs.add((drawn, 0))
        return [*after, Boundary(drawn, max(0, drawn - r.sink))]
    pairs.add((ring, r.sink))
    after.append(Boundary(drawn, ring))
    if r.sink:
        pairs.add((r.window, 0))
        after.append(Boundary(r.window, ring))
    return after


def tokens_of(model: Model, size: tuple[int, int]) -> int:
    """Return the tokens of one latent of a picture of `size` (width, height)."""
    _, ph, pw = model.generator.transformer.config.patch_size
    stride = model.generator.stride
    return (size[1] // (stride * ph)) * (size[0] // (stride * pw))
