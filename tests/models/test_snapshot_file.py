"""A snapshot's file holds every field of a take, of this format and of the earlier one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from conftest import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.cache import REFERENCE, SINK
from models.cache_shape import AnchorPolicy
from models.cache_snapshot import Anchor, CacheSnapshot, Piece
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.checkpoints.weight_files import CheckpointError
from models.codecs.stream import StreamSnapshot
from models.cue import Cue, Cut, LoraScale, OnLora, Parameter, Prompt, Region, Seed
from models.dataclass_tree import equal, tensors_of
from models.lora import LowRank
from models.noise import Noise
from models.sampler import Schedule
from models.snapshots import Snapshot
from models.source import Encoded, Following, Given, Reading
from models.state import Blend, TakeFields
from models.step_batch import UnderWay
from models.transformer import TextState

CPU = torch.device("cpu")
GENERATOR = tiny_model(knot=1).generator
assert GENERATOR.loras is not None
GENERATOR.loras.add("style", "d", [LowRank("blocks.0.attn1.to_q.weight", torch.ones(1, 48), torch.ones(48, 1), 0.1)])
NEVER_DEFAULT = ("loras", "prompt", "text", "blend", "index", "prefix", "recent", "driven", "knot", "pending")
OF_CONDITIONS = ("pinned", "given", "given_to", "source", "under_way", "read_ahead", "scene", "archive")

tensors = st.builds(
    lambda seed, shape: torch.randn(shape, generator=torch.Generator().manual_seed(seed)),
    st.integers(0, 2**16),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
layers = st.lists(st.tuples(tensors, tensors), max_size=2).map(tuple)
texts = st.builds(TextState, tensors, layers)
prompts = st.none() | st.text() | st.lists(st.text(), min_size=1, max_size=3).map(tuple)
takes = st.builds(
    TakeFields,
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3).map(tuple),
    on_lora=st.sampled_from(OnLora),
    loras=st.lists(st.builds(LoraScale, st.text("abc", min_size=1), st.floats(-2, 2)), max_size=2).map(tuple),
    prompt=prompts,
    text=st.none() | texts,
    blend=st.none() | st.builds(Blend, tensors, tensors, st.integers(2, 64), st.integers(0, 64)),
    index=st.integers(0, 10**6),
    prefix=st.integers(0, 30),
    recent=st.lists(tensors, max_size=3),
    driven=st.lists(tensors, max_size=3),
    knot=st.none() | tensors,
    pending=st.booleans(),
)
caches = st.builds(
    CacheSnapshot,
    st.dictionaries(
        st.sampled_from((SINK, REFERENCE)), st.builds(Anchor, layers, st.integers(0, 99), st.integers(1, 3))
    ),
    st.lists(st.builds(Piece, st.integers(0, 99), st.integers(1, 3), layers), max_size=3).map(tuple),
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
    st.integers(0, 99),
    st.sampled_from(AnchorPolicy),
)
memories = st.none() | st.lists(tensors | st.just("Rep") | st.none(), max_size=4).map(tuple)
snapshots = st.builds(Snapshot, takes, caches, st.builds(StreamSnapshot, memories, st.sampled_from((1, 4))))


@given(snapshots)
@settings(max_examples=60, deadline=None)
def test_any_snapshot_comes_back_from_its_file_with_every_field(snapshot: Snapshot) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "snapshot.safetensors"
        save_snapshot(snapshot, file)
        assert equal(load_snapshot(file, CPU, torch.float32), snapshot)


cues = st.lists(
    st.one_of(
        st.builds(Prompt, st.sampled_from(("two", "three")), st.integers(1, 3)),
        st.builds(Seed, st.integers(0, 99)),
        st.builds(Parameter, st.just("on_switch"), st.sampled_from(("recache", "flush", "none", "clear"))),
        st.builds(Parameter, st.just("on_lora"), st.sampled_from(("recache", "flush", "none", "clear"))),
        st.builds(LoraScale, st.just("style"), st.sampled_from((0.0, 1.0, -0.5))),
        st.builds(Parameter, st.just("sink_on_switch"), st.sampled_from(("keep", "reanchor"))),
        st.builds(Parameter, st.just("anchor"), st.sampled_from(("fixed", "trailing", "ahead"))),
        st.just(Cut()),
    ),
    max_size=2,
)


@given(st.lists(st.tuples(cues, st.booleans()), min_size=1, max_size=5))
@settings(max_examples=12, deadline=None)
def test_a_take_that_is_restored_has_every_field_and_goes_on_to_the_bit(chunks: list[tuple[list[Cue], bool]]) -> None:
    """The snapshot is in memory or in a file, taken after any cues, committed or with its clean pass still to come."""
    state = GENERATOR.new_take(3, 32, 32)
    for i, (happens, commits) in enumerate(chunks):
        state.codec.decode(GENERATOR.draw(state, [*happens, Prompt("one")] if i == 0 else happens))
        if commits:
            GENERATOR.commit(state)
    snapshot = GENERATOR.snapshot(state)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "snapshot.safetensors"
        save_snapshot(snapshot, file)
        read = load_snapshot(file, CPU, torch.float32)
    wanted: list[Tensor] | None = None
    for again in (state, GENERATOR.restore(snapshot), GENERATOR.restore(read)):
        assert equal(again.copied(), snapshot.take)
        assert again.cache.policy == snapshot.cache.policy
        drawn = [GENERATOR.draw(again), GENERATOR.draw(again, [Prompt("another")]), GENERATOR.draw(again)]
        assert all(torch.equal(a, b) for a, b in zip(drawn, wanted or drawn, strict=True))
        wanted = drawn


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(TakeFields)])
def test_a_rewind_and_a_file_keep_each_field_when_it_is_not_as_a_new_take_has_it(name: str, tmp_path: Path) -> None:
    state = GENERATOR.new_take((3, 4), 32, 48, Noise.PHILOX)
    other = {"on_switch": "flush", "on_lora": "clear", "sink_on_switch": "reanchor", "anchor": "fixed"}
    settings = [Parameter(setting, value) for setting, value in other.items()]  # type: ignore[arg-type]
    GENERATOR.apply_cues(state, [LoraScale("style", 0.5), Prompt(("one", "x")), *settings])
    GENERATOR.prefill(state, torch.ones(2, 4, 3, 6, 4))
    GENERATOR.draw(state)
    GENERATOR.draw(state, [Prompt(("two", "y"), blend=3)])
    state.driven = [torch.ones(2, 3, 1, 1)]  # only a model that is driven has it
    state.pinned, state.given, state.given_to = torch.ones(2, 4, 1, 6, 4), torch.ones(2, 4, 3, 6, 4), 3
    state.announced = True
    seen = Encoded(torch.ones(1, 4, 3, 6, 4).half(), 0.5)
    region, memory = Region("10", 1, 2), (torch.ones(1), "Rep", None)
    state.source = Following(
        "a.mp4", 3, 0.5, 1.0, region, memory, torch.ones(1, 2, 2, 3).byte(), seen, 3, (Reading(5, seen),)
    )
    given, steps = Given(torch.ones(1, 4, 3, 6, 4), 0.5, None, begins=True), Schedule((0.9, 0.5), (800.0, 500.0))
    state.under_way = (UnderWay(2, 6, torch.ones(1, 4, 3, 6, 4), torch.ones(1, 4, 3, 6, 4), steps, given),)
    state.read_ahead = (given,)
    held = {f.name: getattr(state, f.name) for f in dataclasses.fields(TakeFields)}  # before anything is copied
    new = GENERATOR.new_take(0, 32, 32)
    assert not equal(held[name], getattr(new, name))
    snapshot = GENERATOR.snapshot(state)
    save_snapshot(snapshot, tmp_path / "s.safetensors")
    for again in (
        GENERATOR.restore(snapshot),
        GENERATOR.restore(load_snapshot(tmp_path / "s.safetensors", CPU, torch.float32)),
    ):
        assert equal(getattr(again, name), held[name])
        assert again.cache.policy is AnchorPolicy.FIXED


def test_equality_sees_a_change_of_any_field() -> None:
    state = GENERATOR.new_take(3, 32, 32)
    GENERATOR.draw(state, [Prompt("one"), Parameter("sink_on_switch", "reanchor")])
    take = state.copied()
    others = {
        "size": (1, 2),
        "seeds": (9,),
        "noise": "philox",
        "announced": True,
        "on_switch": "none",
        "on_lora": "none",
        "sink_on_switch": "keep",
    }
    others |= dict.fromkeys((*NEVER_DEFAULT, *OF_CONDITIONS), "another")
    assert set(others) == {f.name for f in dataclasses.fields(TakeFields)}
    for name, value in others.items():
        assert not equal(take, dataclasses.replace(take, **{name: value}))  # type: ignore[arg-type]


def test_equality_sees_a_change_of_a_single_value_and_of_a_tensors_type() -> None:
    held = Blend(torch.zeros(2, 3), torch.ones(2, 3), 4)
    other = torch.ones(2, 3)
    other[1, 2] += 1e-6
    assert equal(held, dataclasses.replace(held, goal=torch.ones(2, 3)))
    assert not equal(held, dataclasses.replace(held, goal=other))
    assert not equal(held, dataclasses.replace(held, goal=torch.ones(2, 3).double()))
    assert not equal(held, dataclasses.replace(held, done=1))


def test_all_tensors_of_a_snapshot_count_as_its_memory() -> None:
    state = GENERATOR.new_take(3, 32, 32)
    state.codec.decode(GENERATOR.draw(state, [Prompt("one")]))
    GENERATOR.commit(state)
    held = GENERATOR.snapshot(state)
    addresses = {t.data_ptr() for t in tensors_of(held)}
    assert held.take.text is not None
    assert held.take.knot is not None
    for part in (held.take.recent[0], held.take.knot, held.take.text.embeddings, held.cache.anchors[SINK].layers[0][0]):
        assert part.data_ptr() in addresses
    assert any(t.data_ptr() in addresses for t in held.codec.memory or () if isinstance(t, Tensor))


def test_what_a_model_computed_is_read_in_its_own_precision_and_latents_stay_exact(tmp_path: Path) -> None:
    state = GENERATOR.new_take(3, 32, 32)
    GENERATOR.draw(state, [Prompt("one")])
    GENERATOR.commit(state)
    save_snapshot(GENERATOR.snapshot(state), tmp_path / "s.safetensors")
    read = load_snapshot(tmp_path / "s.safetensors", CPU, torch.bfloat16)
    assert {t.dtype for t in tensors_of(read.cache)} == {torch.bfloat16}
    assert {t.dtype for t in read.take.recent} == {torch.float32}


def test_factors_of_an_emphasis_stay_exact_in_a_model_of_lower_precision(tmp_path: Path) -> None:
    """1.3 is 1.296875 in bfloat16: a take that is taken up would be drawn under another emphasis."""
    state, factors = GENERATOR.new_take(3, 32, 32), torch.tensor([[1.0, 1.3]])
    embedded = torch.zeros(1, 2, 16)
    state.text = TextState(embedded, (), factors)
    state.blend = Blend(embedded, embedded, 4, 1, factors, factors)
    save_snapshot(GENERATOR.snapshot(state), tmp_path / "s.safetensors")
    read = load_snapshot(tmp_path / "s.safetensors", CPU, torch.bfloat16).take
    assert read.text is not None
    assert read.blend is not None
    assert read.text.embeddings.dtype == torch.bfloat16
    for held in (read.text.emphasis, read.blend.start_emphasis, read.blend.goal_emphasis):
        assert held is not None
        assert torch.equal(held, factors)


def test_a_format_that_is_not_known_is_refused_in_one_line(tmp_path: Path) -> None:
    state, file = GENERATOR.new_take(3, 32, 32), tmp_path / "s.safetensors"
    save_snapshot(GENERATOR.snapshot(state), file)
    with safe_open(file, "pt") as f:
        facts = json.loads(f.metadata()["facts"])
    save_file(load_file(file) or {"none": torch.zeros(1)}, file, {"facts": json.dumps(facts | {"format": 99})})
    with pytest.raises(CheckpointError, match="a snapshot in format 99; this release reads formats 1 and 2"):
        load_snapshot(file, CPU, torch.float32)


def test_a_snapshot_of_the_earlier_format_is_read() -> None:
    """It was written by a release whose ring was slots of whole chunks (tests/app/earlier_render)."""
    file = Path(__file__).parents[1] / "app" / "earlier_render" / "checkpoint-0000030.safetensors"
    read = load_snapshot(file, CPU, torch.float32)
    assert read.index == 30
    assert read.take.sink_on_switch == "reanchor"
    assert read.cache.policy is AnchorPolicy.FIXED
    assert read.take.prompt == "three"
    assert read.cache.pieces[-1].stop == 30


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_of_which_any_bit_or_any_end_is_lost_is_no_snapshot(data: st.DataObject) -> None:
    state = GENERATOR.new_take(3, 32, 32)
    GENERATOR.draw(state, [Prompt("one")])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "s.safetensors"
        save_snapshot(GENERATOR.snapshot(state), file)
        content = bytearray(file.read_bytes())
        at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
        content[at] ^= 1 << bit
        for damaged in (content, content[:at]):
            file.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="snapshot"):
                load_snapshot(file, CPU, torch.float32)
