"""The ring never moves a key, yet attention sees what a plain list of latents would show it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.cache import RingCache
from models.cache_shape import AnchorPolicy, CacheShape
from models.rope import rotation

CPU = torch.device("cpu")
HEAD = 24


class PlainCache:
    """The specification: (coordinate, key before rotation, value) of every visible latent, in plain lists."""

    def __init__(self, shape: CacheShape, policy: AnchorPolicy) -> None:
        self.shape, self.policy = shape, policy
        self.sink: list[tuple[int, Tensor, Tensor]] = []
        self.past: list[tuple[int, Tensor, Tensor]] = []

    def seen(self, first: int, new: list[tuple[int, Tensor, Tensor]]) -> list[tuple[float, Tensor, Tensor]]:
        """What a pass over `new` sees: (coordinate to rotate at, key, value)."""
        s = self.shape
        room = s.window - s.sink - len(new) if (self.sink or not s.sink) else s.window
        past = self.past[-room:] if room > 0 else []
        oldest = min([c for c, _, _ in past], default=first)
        at = {
            AnchorPolicy.FIXED: self.sink[0][0] if self.sink else 0,
            AnchorPolicy.TRAILING: oldest - s.sink,
            AnchorPolicy.AHEAD: first + len(new) - 1 + s.gap,
        }[self.policy]
        return [(at + i, k, v) for i, (_, k, v) in enumerate(self.sink)] + past + new

    def commit(self, new: list[tuple[int, Tensor, Tensor]]) -> None:
        if self.shape.sink and not self.sink and not self.past:
            self.sink = new
        else:
            self.past = (self.past + new)[-(self.shape.window - self.shape.sink) :]


def attention(keys: Tensor, values: Tensor) -> Tensor:
    query = torch.sin(torch.arange(2 * HEAD).view(1, 1, 2, HEAD).float())
    return torch.nn.functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (query, keys, values)))


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(AnchorPolicy),
    sink=st.booleans(),
    chunk=st.integers(1, 3),
    chunks=st.integers(2, 4),
    script=st.lists(st.sampled_from(["draw", "draw", "draw", "snapshot", "clear", "newest"]), min_size=1, max_size=24),
)
def test_the_ring_shows_what_a_list_would(
    policy: AnchorPolicy, sink: bool, chunk: int, chunks: int, script: list[str]
) -> None:
    shape = CacheShape(1, 2, HEAD, 1, 2, chunk, chunk * chunks + (chunk if sink else 0), chunk if sink else 0)
    ring, plain = RingCache(shape, policy, CPU, torch.float32), PlainCache(shape, policy)
    generator, index = torch.Generator().manual_seed(1), 0
    turn = lambda first, n: rotation(range(first, first + n), 1, 2, HEAD, CPU)  # noqa: E731
    for action in script:
        if action == "snapshot":
            held = ring.snapshot()
            ring = RingCache(shape, policy, CPU, torch.float32)
            ring.restore(held)
        elif action == "clear":
            ring.clear(index)
            plain.sink, plain.past = [], []
        elif action == "newest":
            ring.keep_newest()
            plain.past = plain.past[-1:]
        else:
            k, v = torch.randn(2, 1, 2 * chunk, 2, HEAD, generator=generator)
            new = [(index + i, k[:, 2 * i : 2 * i + 2], v[:, 2 * i : 2 * i + 2]) for i in range(chunk)]
            for clean in (False, True):  # a step of denoising leaves nothing behind
                where = ring.begin(index, clean=clean)
                keys, values = ring.extend(0, k, v, where)
                ring.end()
                seen = plain.seen(index, new)
                expected_keys = torch.cat([turn(int(c), 1)(key) for c, key, _ in seen], 1)
                expected = attention(expected_keys, torch.cat([value for _, _, value in seen], 1))
                assert keys.shape == expected_keys.shape
                torch.testing.assert_close(attention(keys, values), expected, atol=1e-4, rtol=0)
            plain.commit(new)
            index += chunk


def test_nothing_is_allocated_once_the_window_is_full() -> None:
    shape = CacheShape(1, 2, HEAD, 1, 2, 3, 12, 3)
    ring = RingCache(shape, AnchorPolicy.FIXED, CPU, torch.float32)
    k = torch.randn(1, 6, 2, HEAD)
    for i in range(4):
        where = ring.begin(3 * i, clean=True)
        ring.extend(0, k, k, where)
        ring.end()
    where = ring.begin(12)
    keys, _ = ring.extend(0, k, k, where)
    assert keys.shape[1] == 24
    assert keys.untyped_storage().data_ptr() == ring._keys[0].untyped_storage().data_ptr()
