"""Snapshots hold latents in place of keys that are dear, and a take goes on from them with keys that are made anew."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import tiny_model, tiny_text
from torch import Tensor

from models import snapshots
from models.cache import RingCache
from models.cache_shape import CacheShape
from models.catalog import LONGLIVE, POCKET, Entry
from models.checkpoints.assemble import ASSETS, Model, load
from models.codecs.stream import DecodeStream, Memory
from models.cue import Cut, OnSwitch, Parameter, Prompt, Recache, SinkOnSwitch
from models.dataclass_tree import equal
from models.generator import Generator
from models.prompt_memory import PromptMemory
from models.snapshots import Snapshots, keys_are_dear, snapshot_of
from models.state import TakeState
from models.transformer import TextState

CODEC_FEATURES = 944_286_720  # numbers in the feature caches of Wan 2.1's decoder at 832x480


class FeatureHolder:
    """Stand in for the decoder of a video codec: it has only the size of what it carries."""

    def __init__(self, features: int) -> None:
        self._features = features

    def decode(self, latents: Tensor, memory: object = None) -> tuple[Tensor, Memory]:
        frames = torch.zeros(1, 4 * latents.shape[2], 3, 1, 1)
        return frames, [torch.empty(self._features, device="meta", dtype=torch.bfloat16)]


class SizedTake:
    """Roll out a take of a catalog entry whose tensors have their sizes and no values."""

    def __init__(self, entry: Entry, features: int) -> None:
        t, r, (width, height) = entry.transformer, entry.rollout, entry.size
        self.cells = (height // entry.stride, width // entry.stride)
        shape = CacheShape(
            layers=1,
            heads=t["num_layers"] * t["num_attention_heads"],  # of all layers: the same sizes in fewer tensors
            head_dim=t["attention_head_dim"],
            rows=self.cells[0] // 2,
            columns=self.cells[1] // 2,
            grid=r.grid,
            window=r.window,
            sink=r.sink,
        )
        self.entry, self.shape = entry, shape
        self.state = TakeState(
            cache=RingCache(shape, r.anchor, torch.device("meta"), torch.bfloat16),
            codec=DecodeStream(FeatureHolder(features)),
            size=entry.size,
            seeds=(0,),
            on_switch=OnSwitch.RECACHE,
            sink_on_switch=SinkOnSwitch.KEEP,
        )

    def prompt(self) -> None:
        size = (1, 512, self.shape.heads, self.shape.head_dim)
        keys, values = (torch.empty(size, device="meta", dtype=torch.bfloat16) for _ in range(2))
        self.state.text = TextState(torch.empty(1, 512, 4096, device="meta", dtype=torch.bfloat16), ((keys, values),))

    def cut(self) -> None:
        self.state.cache.clear(self.state.index)
        self.state.forget_latents()

    def chunk(self) -> None:
        """Draw and commit a chunk."""
        first, n = self.state.index, self.shape.grid.chunk
        size = (1, n * self.shape.tokens, self.shape.heads, self.shape.head_dim)
        latents = torch.empty(1, 16, n, *self.cells, device="meta")
        self.state.codec.decode(torch.empty(1, 1, n, 1, 1))
        self.state.append(latents, None, self.entry.rollout.window)
        rotation = self.state.cache.begin(first, n, clean=True)
        key, value = (torch.empty(size, device="meta", dtype=torch.bfloat16) for _ in range(2))
        self.state.cache.extend(0, key, value, rotation)
        self.state.cache.end()
        self.state.pending = False


def test_at_longlives_size_a_chunk_is_a_megabyte_and_one_can_go_back_for_minutes() -> None:
    take, held = SizedTake(LONGLIVE, CODEC_FEATURES), Snapshots(512)
    take.prompt()
    sizes = []
    for _ in range(100):
        take.chunk()
        held.add(held.taken(take.state))
        sizes.append(held.bytes())
    sink = 2 * 30 * 3 * 1560 * 12 * 128 * 2  # keys and values, 30 layers, 3 latents of 1560 tokens, bfloat16
    latents = 16 * 3 * 60 * 104 * 4  # a chunk in float32
    assert take.state.cache.anchor_bytes == sink == 862_617_600
    assert take.state.cache.chunk_bytes + take.state.codec.memory_bytes() == sink + 2 * CODEC_FEATURES
    assert 0 <= sizes[0] - (sink + latents + 512 * 4096 * 2) <= 10_000  # tensor objects, and pages filled in part
    assert latents == 1_198_080
    assert all(latents <= b - a <= latents + 10_000 for a, b in pairwise(sizes))
    assert held.oldest() == 3
    reach = (512e6 + 2 * sink - sizes[0]) // latents  # chunks of 12 frames, 16 a second
    assert reach * 12 / 16 > 14 * 60
    assert (512e6 - sizes[0] + sink) // latents * 12 / 16 > 5 * 60  # with the sink of an earlier scene
    with_keys = Snapshots(512)
    for _ in range(3):
        take.chunk()
        with_keys.add(snapshot_of(take.state))
    assert with_keys.oldest() == take.state.index  # what a budget of 512 MB holds of snapshots with keys
    assert with_keys.bytes() > 4.5e9


def test_a_cut_at_longlives_size_can_be_undone() -> None:
    take, held = SizedTake(LONGLIVE, CODEC_FEATURES), Snapshots(512)
    for scene in range(4):
        take.prompt()
        for _ in range(8):
            take.chunk()
            held.add(held.taken(take.state))
        take.cut()
        assert held.at(24 * scene or 3).index == (24 * scene or 3)  # the boundary at which this scene began
    assert held.bytes() <= 512e6 + 2 * take.state.cache.anchor_bytes


def test_keys_of_pocket_are_kept() -> None:
    model = load(POCKET, ASSETS, torch.device("cpu"), torch.float32)
    state = model.generator.new_take(0, *POCKET.size)
    state.codec.decode(torch.zeros(1, 32, 3, 16, 16))
    assert not keys_are_dear(state)


CUES = {0: [Prompt("one")], 3: [Prompt("two", blend=3)], 7: [Cut(), Prompt("three")]}


def rolled(generator: Generator, state: TakeState, start: int, stop: int) -> list[Tensor]:
    """Draw, decode and commit chunks `start` to `stop`; return their latents and frames in turn."""
    out = []
    for i in range(start, stop):
        latents = generator.draw(state, [*([Recache()] if state.cache.keys_missing else []), *CUES.get(i, [])])
        out += [latents, state.codec.decode(latents)]
        generator.commit(state)
    return out


@pytest.mark.parametrize(("sink", "knot"), [(3, 0), (4, 1), (0, 2)])
@pytest.mark.parametrize("chunks", [1, 2, 4, 6, 7, 8, 9, 12])
def test_a_recache_in_the_record_gives_the_latents_of_a_take_that_went_on_without_keys(
    chunks: int, sink: int, knot: int
) -> None:
    """Compare with a take that was drawn in one go and recached at the same place, latents and frames to the bit."""
    generator = tiny_model(sink=sink, knot=knot).generator
    state = generator.new_take(3, 32, 32)
    rolled(generator, state, 0, chunks)
    snapshot = generator.snapshot(state, keys=False)
    again = generator.restore(snapshot)
    missing = again.cache.keys_missing
    assert missing is bool(state.cache.past_latents)
    branch = rolled(generator, again, chunks, chunks + 4)
    straight = generator.draw(state, [*([Recache()] if missing else []), *CUES.get(chunks, [])])
    whole = [straight, state.codec.decode(straight)]
    generator.commit(state)
    whole += rolled(generator, state, chunks + 1, chunks + 4)
    assert all(torch.equal(a, b) for a, b in zip(branch, whole, strict=True))


def test_a_chunk_is_not_drawn_while_keys_are_missing() -> None:
    generator = tiny_model().generator
    state = generator.new_take(3, 32, 32)
    rolled(generator, state, 0, 3)
    again = generator.restore(generator.snapshot(state, keys=False))
    with pytest.raises(ValueError, match="restored without its keys; a recache makes them anew"):
        generator.draw(again)


def test_a_recache_brings_nothing_back_that_a_flush_has_dropped() -> None:
    generator = tiny_model().generator
    state = generator.new_take(3, 32, 32)
    rolled(generator, state, 0, 3)
    generator.draw(state, [Parameter("on_switch", "flush"), Prompt("two")])
    generator.commit(state)
    seen = state.cache.past_latents
    again = generator.restore(generator.snapshot(state, keys=False))
    generator.apply_cues(again, [Recache()])
    assert again.cache.past_latents == seen == range(8, 12)
    assert not again.cache.keys_missing


@pytest.mark.long
def test_the_chunk_after_a_restore_without_keys_is_nearly_the_same() -> None:
    """Print and bound the difference to a take that went on with its keys, for pocket at 128x128."""
    model = load(POCKET, ASSETS, torch.device("cpu"), torch.float32)
    prompts = ["a large red ball bounces over the meadow by day", "a large blue fish drifts over the sea at night"]
    for at, switch in ((4, 9), (6, 9), (12, 9), (12, 6), (12, 10)):
        difference, frames = _difference(model, prompts, at, switch)
        print(f"{at} chunks, switch at {switch}: latents {difference:.4f} of their deviation, frames {frames:.2f}")
        assert difference < 0.02
        assert frames < 2


def _difference(model: Model, prompts: list[str], at: int, switch: int) -> tuple[float, float]:
    """Return how far the next chunk is from that with keys: latents relative to their deviation, frames of 255."""
    generator = model.generator
    state = generator.new_take(7, 128, 128)
    for i in range(at):
        state.codec.decode(generator.draw(state, [Prompt(prompts[i >= switch])]))
        generator.commit(state)
    again = generator.restore(generator.snapshot(state, keys=False))
    a, b = generator.draw(state), generator.draw(again, [Recache()])
    mean = (state.codec.decode(a).float() - again.codec.decode(b).float()).abs().mean()
    return float(((a - b) ** 2).mean().sqrt() / a.std()), float(mean)


def test_no_value_of_the_memory_of_the_codec_is_older_than_the_latents_that_are_decoded_again() -> None:
    generator = tiny_model().generator
    state = generator.new_take(3, 32, 32)
    rolled(generator, state, 0, 6)
    restored = generator.restore(generator.snapshot(state, keys=False))
    latents = torch.ones(1, 4, 3, 4, 4)
    assert torch.equal(state.codec.decode(latents), restored.codec.decode(latents))
    assert snapshots.LATENTS_DECODED == 6


@pytest.mark.parametrize("emphasis", [None, torch.tensor([[1.0, 1.5, 0.0, 1.0, 1.0, 1.0]])])
def test_keys_of_a_prompt_that_were_left_out_are_computed_with_its_emphasis(emphasis: Tensor | None) -> None:
    model = tiny_model()
    memory = PromptMemory(tiny_text, model.generator.transformer)
    text = memory.embedded(tiny_text(["one"]), emphasis)
    assert equal(memory.completed(replace(text, layers=())), text)
    assert memory.completed(text) is text
