"""The (queries, past) pairs that occur in a model's takes, in tokens: first chunk, fill, steady, recache, each chunk
with its knot and without, the past with a reference where there is one."""

from __future__ import annotations

from models.checkpoints.assemble import Model


def occurring(model: Model, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Every pair of one size of picture, fewest queries first. Flushed takes see one latent of the past, too."""
    r, tokens = model.generator.config, tokens_of(model, size)
    first = [(r.chunk, 0)]
    rolling = [(r.chunk, past) for past in range(r.sink, r.window - r.chunk + 1, r.chunk)]
    flushed = [(r.chunk, r.sink + 1 + past) for past in range(0, r.window - r.chunk - r.sink, r.chunk)]
    prefix = [(n, 0) for n in range(r.chunk, r.window + 1, r.chunk)]  # a recache that writes the sink anew
    recache = [(r.window - r.sink, r.sink)]
    denoised = {(q + r.knot, past) for q, past in (*first, *rolling, *flushed)}
    pairs = {*first, *rolling, *flushed, *prefix, *recache, *denoised}
    anchor = 1 if r.reference else 0
    return sorted((q * tokens, (p + anchor) * tokens) for q, p in pairs)


def tokens_of(model: Model, size: tuple[int, int]) -> int:
    """Tokens of one latent of a picture of `size` (width, height)."""
    _, ph, pw = model.generator.transformer.config.patch_size
    stride = model.generator.stride
    return (size[1] // (stride * ph)) * (size[0] // (stride * pw))
