"""The ring never moves a key, yet attention sees what a plain list of latents would show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.cache import RingCache
from models.cache_protocol import Visible
from models.cache_shape import AnchorPolicy, CacheShape, ReferenceRule
from models.dataclass_tree import tensors_of
from models.rope import rotation
from models.time_grid import TimeGrid

CPU = torch.device("cpu")
HEAD, TOKENS = 24, 2
Latent = tuple[int, Tensor, Tensor]  # coordinate, key before rotation, value


class PlainCache:
    """Specify a cache: every latent since the origin in a plain list, and for each pass which of them it sees."""

    def __init__(self, shape: CacheShape, policy: AnchorPolicy) -> None:
        self.shape, self.policy = shape, policy
        self.origin, self.oldest = 0, 0  # nothing in the ring before `oldest` is visible
        self.sink: list[Latent] = []
        self.past: list[Latent] = []
        self.reference: Latent | None = None

    def seen(self, first: int, own: list[Latent], knot: list[Latent]) -> list[Latent]:
        """Return what a pass over the latents `own` sees: (coordinate to rotate at, key, value)."""
        s, newest = self.shape, first + len(own) - 1
        past = [p for p in self.past if p[0] >= max(self.oldest, newest + 1 - (s.window - s.sink))]
        visible = past[0][0] if past else first
        at = {
            AnchorPolicy.FIXED: self.origin,
            AnchorPolicy.TRAILING: visible - len(self.sink),
            AnchorPolicy.AHEAD: newest + len(knot) + s.gap,
        }[self.policy]
        anchors = [(at + i, k, v) for i, (_, k, v) in enumerate(self.sink)]
        if self.reference is not None and s.reference is not None:
            first_length = s.grid.chunk if self.origin else s.grid.first_chunk
            where = s.reference.coordinate(newest + s.knot, self.origin + first_length - 1 + s.knot)
            anchors.append((where, *self.reference[1:]))
        return [*anchors, *past, *own, *knot]

    def commit(self, own: list[Latent]) -> None:
        """Put latents up to the sink's length, counted from the origin, there; later ones are past."""
        for latent in own:
            (self.sink if latent[0] < self.origin + self.shape.sink else self.past).append(latent)

    def clear(self, origin: int) -> None:
        self.sink, self.past, self.origin, self.oldest = [], [], origin, origin


class Both:
    """Give a ring and the specification the same calls, and compare every pass."""

    def __init__(self, shape: CacheShape, policy: AnchorPolicy, *, by_engine: bool = False) -> None:
        self.shape, self.index, self.by_engine = shape, 0, by_engine
        self.ring, self.plain = RingCache(shape, policy, CPU, torch.float32), PlainCache(shape, policy)
        self.make = torch.Generator().manual_seed(1)
        if shape.reference is not None:
            self.refer()

    def do(self, action: str) -> None:
        drawn = self.index - self.plain.origin
        match action:
            case "draw":
                self.draw()
            case "snapshot":
                held = self.ring.snapshot()
                self.ring = RingCache(self.shape, self.ring.policy, CPU, torch.float32)
                self.ring.restore(held)
            case "return":  # to a snapshot, while another take has begun in its place
                held = self.ring.snapshot()
                self.ring.clear(self.index)
                drawn = self.latents(self.index, self.shape.grid.chunk + self.shape.knot)
                turn = self.ring.begin(self.index, self.shape.grid.chunk)
                self.ring.extend(0, *stacked(drawn), turn)
                self.ring.end()
                self.ring.restore(held)
            case "fixed" | "trailing" | "ahead":
                self.ring.policy = self.plain.policy = AnchorPolicy(action)
            case "clear":
                self.ring.clear(self.index)
                self.plain.clear(self.index)
            case "newest":
                self.ring.keep_newest()
                self.plain.oldest = self.index - 1
            case "recache" if drawn:
                self.recache(drawn if drawn <= self.shape.window else self.shape.window - self.shape.sink)
            case "reanchor" if drawn >= self.shape.window:
                self.ring.clear(self.index - self.shape.window)
                self.plain.clear(self.index - self.shape.window)
                self.recache(self.shape.window)
            case "refer" if self.shape.reference:
                self.refer()

    def latents(self, first: int, n: int) -> list[Latent]:
        keys, values = torch.randn(2, n, 1, TOKENS, 2, HEAD, generator=self.make)
        return [(first + i, keys[i], values[i]) for i in range(n)]

    def draw(self) -> None:
        n = self.shape.grid.length(self.index)
        own, knot = self.latents(self.index, n), self.latents(self.index + n, self.shape.knot)
        for clean in (False, True):  # a step of denoising leaves nothing behind
            turn = self.ring.begin(self.index, n, clean=clean)
            carried = [] if clean else knot
            expected = self.plain.seen(self.index, own, carried)
            handed_over(self.ring.past(), expected[: len(expected) - len(own) - len(carried)])
            if clean or not self.by_engine:  # an engine's steps write nothing
                compare(self.ring.extend(0, *stacked([*own, *carried]), turn), expected)
            self.ring.end()
        self.plain.commit(own)
        self.index += n

    def recache(self, n: int) -> None:
        first = self.index - n
        own = self.latents(first, n)
        turn = self.ring.begin_recache(first, n)
        self.plain.past = []
        self.plain.oldest = first
        if first == self.plain.origin:
            self.plain.sink = []
        seen = self.ring.extend(0, *stacked(own), turn)
        compare(seen, self.plain.seen(first, own, []))
        self.ring.end()
        self.plain.commit(own)

    def refer(self) -> None:
        [image] = self.latents(0, 1)
        turn = self.ring.begin_reference()
        compare(self.ring.extend(0, *stacked([image]), turn), [image])
        self.ring.end()
        self.plain.reference = image


def stacked(latents: list[Latent]) -> tuple[Tensor, Tensor]:
    return torch.cat([k for _, k, _ in latents], 1), torch.cat([v for _, _, v in latents], 1)


def compare(seen: Visible, expected: Sequence[Latent]) -> None:
    """Compare keys at the same coordinates, in any order."""
    assert sorted(seen.coordinates) == sorted(c for c, _, _ in expected)
    keys = torch.cat([rotation([c], 1, TOKENS, HEAD, CPU)(k) for c, k, _ in expected], 1)
    values = torch.cat([v for _, _, v in expected], 1)
    assert seen.keys.shape == keys.shape
    for coordinate, key in zip(seen.coordinates, seen.keys.split(TOKENS, 1), strict=True):
        near = [rotation([c], 1, TOKENS, HEAD, CPU)(k) for c, k, _ in expected if c == coordinate]
        assert any(torch.allclose(key, k, atol=1e-4) for k in near), f"another key at coordinate {coordinate}"
    torch.testing.assert_close(attention(seen.keys, seen.values), attention(keys, values), atol=1e-4, rtol=0)


def handed_over(past: tuple[Tensor, Tensor], expected: Sequence[Latent]) -> None:
    """Compare what an engine is given of the past with what it should see."""
    keys, values = past
    assert keys.shape == values.shape == (1, 1, TOKENS * len(expected), 2, HEAD)
    assert keys.is_contiguous()
    assert values.is_contiguous()
    if expected:
        wanted = torch.cat([rotation([c], 1, TOKENS, HEAD, CPU)(k) for c, k, _ in expected], 1)
        seen = attention(wanted, torch.cat([v for _, _, v in expected], 1))
        torch.testing.assert_close(attention(keys[0], values[0]), seen, atol=1e-4, rtol=0)


def attention(keys: Tensor, values: Tensor) -> Tensor:
    query = torch.sin(torch.arange(2 * HEAD).view(1, 1, 2, HEAD).float())
    return torch.nn.functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (query, keys, values)))


def shape_of(
    chunk: int, window: int, sink: int, first: int, knot: int, rule: ReferenceRule | None = None
) -> CacheShape:
    return CacheShape(1, 2, HEAD, 1, TOKENS, TimeGrid(chunk, first), window, sink, knot, rule)


@st.composite
def shapes(draw: st.DrawFn) -> CacheShape:
    chunk = draw(st.integers(1, 4))
    window = draw(st.integers(chunk, 12))
    rule = draw(st.sampled_from([None, "gap", "fixed", "stride"]))
    return shape_of(
        chunk,
        window,
        draw(st.integers(0, window - chunk)),
        draw(st.integers(1, window)),
        draw(st.integers(0, chunk)),
        ReferenceRule(rule, start=40) if rule else None,  # type: ignore[arg-type]
    )


ACTIONS = (
    *("draw", "draw", "draw", "draw", "snapshot", "return", "clear", "newest", "recache", "reanchor", "refer"),
    *AnchorPolicy,
)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(AnchorPolicy),
    shape=shapes(),
    script=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=24),
    by_engine=st.booleans(),
)
def test_the_ring_shows_what_a_list_would(
    policy: AnchorPolicy, shape: CacheShape, script: list[str], *, by_engine: bool
) -> None:
    both = Both(shape, policy, by_engine=by_engine)
    for action in script:
        both.do(action)


@pytest.mark.parametrize(
    ("shape", "policy", "script"),
    [
        (shape_of(3, 12, 3, 3, 2), AnchorPolicy.AHEAD, ["draw"] * 5),
        (shape_of(3, 6, 3, 3, 0), AnchorPolicy.FIXED, ["draw"] * 4 + ["reanchor", "draw", "draw"]),
    ],
    ids=["a sink that a clean pass sees elsewhere", "a sink made anew in its place"],
)
def test_an_engine_is_not_given_what_has_changed_since(
    shape: CacheShape, policy: AnchorPolicy, script: list[str]
) -> None:
    both = Both(shape, policy, by_engine=True)
    for action in script:
        both.do(action)


def test_what_an_engine_sees_is_gathered_once_a_chunk() -> None:
    ring = RingCache(shape_of(3, 12, 3, 3, 0), AnchorPolicy.TRAILING, CPU, torch.float32)
    for first in range(0, 24, 3):
        ring.begin(first, 3)
        of_steps = ring.past()
        ring.end()
        turn = ring.begin(first, 3, clean=True)
        assert ring.past() is of_steps
        ring.extend(0, *torch.randn(2, 1, 3 * TOKENS, 2, HEAD), turn)
        ring.end()


WAY = [
    "draw",
    "recache",
    "draw",
    "draw",
    "newest",
    "draw",
    "snapshot",
    "draw",
    "draw",
    "draw",
    "recache",
    "draw",
    "draw",
    "return",
    "draw",
    "newest",
    "draw",
    "draw",
    "reanchor",
    "draw",
    "draw",
    "clear",
    "draw",
    "recache",
    "draw",
    "draw",
]


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_every_small_shape_shows_what_a_list_would(chunk: int) -> None:
    windows = range(chunk, 7)
    policies, rules = itertools.cycle(AnchorPolicy), itertools.cycle([None, ReferenceRule("fixed"), ReferenceRule()])
    for window in windows:
        for sink, first in itertools.product(range(window - chunk + 1), range(1, window + 1)):
            rule = next(rules)
            shape = shape_of(chunk, window, sink, first, (sink + first) % (chunk + 1), rule)
            both = Both(shape, next(policies))
            for action in WAY:
                both.do(action)


@pytest.mark.parametrize(
    ("chunk", "window", "sink", "first"), [(3, 12, 3, 3), (2, 6, 1, 2), (3, 21, 0, 1), (1, 5, 1, 1)]
)
def test_nothing_is_copied_once_the_window_is_full(chunk: int, window: int, sink: int, first: int) -> None:
    """Keys come as one view of one buffer, whose address and size stay the same from chunk to chunk."""
    shape = shape_of(chunk, window, sink, first, knot=0)
    ring, index, places = RingCache(shape, AnchorPolicy.TRAILING, CPU, torch.float32), 0, set()
    for _ in range(3 * window):
        n = shape.grid.length(index)
        key = torch.randn(1, TOKENS * n, 2, HEAD)
        for clean in (False, True):
            turn = ring.begin(index, n, clean=clean)
            seen = ring.extend(0, key, key, turn)
            ring.end()
            if index >= 2 * window:
                places.add((seen.keys.data_ptr(), seen.values.data_ptr(), seen.keys.shape[1]))
        index += n
    assert len(places) == 1
    assert places.pop()[2] == window * TOKENS


def test_a_snapshot_is_not_touched_by_what_comes_after() -> None:
    both = Both(shape_of(2, 6, 1, 2, knot=1), AnchorPolicy.TRAILING)
    for _ in range(5):
        both.do("draw")
    held = both.ring.snapshot()
    before = [t.clone() for t in tensors_of(held)]
    for action in ("draw", "recache", "newest", "draw", "draw", "draw", "clear", "draw"):
        both.do(action)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors_of(held), strict=True))


def test_neighbouring_snapshots_share_all_that_their_chunk_did_not_write() -> None:
    both = Both(shape_of(3, 12, 3, 3, knot=0), AnchorPolicy.TRAILING)
    for _ in range(6):
        both.do("draw")
    one = both.ring.snapshot()
    both.do("draw")
    other = both.ring.snapshot()
    held = {id(t) for t in tensors_of(one)}
    assert sum(id(t) not in held for t in tensors_of(other)) == 2  # keys and values of the newest chunk


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ((3, 12, 10, 3), "a sink has 0 to 9 latents"),
        ((3, 12, -1, 3), "a sink has 0 to 9 latents"),
        ((3, 2, 0, 3), "no room for a chunk of 3"),
        ((3, 6, 0, 7), "no room for a chunk of 7"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[int, int, int, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        shape_of(*sizes, knot=0)
