"""A model is fitted into a card with no more changes than it takes, and each is told with what it saves."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.archive import BUDGET
from models.catalog import ENTRIES, find
from models.checkpoints.memory_plan import decoding_bytes, planned
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE, TINY_CODECS
from models.prompt_memory import REMEMBERED_BYTES

DECODED = ("longlive-1.3b", "causal-forcing-framewise", "longlive2-5b", "pocket", "pocket-avatar")
PUBLISHED = [name for name in ENTRIES if not name.startswith("pocket")]


def test_a_card_with_room_changes_nothing() -> None:
    plan = planned(find("longlive-1.3b"), 80e9, 2)
    assert (plan.entry, plan.text_on_cpu, plan.notes, plan.fits) == (find("longlive-1.3b"), False, (), True)


def test_the_text_encoder_goes_first_then_the_codec() -> None:
    entry = find("longlive-1.3b")
    first = planned(entry, 14e9, 2)
    assert first.text_on_cpu
    assert first.entry.codec == "wan"
    second = planned(entry, 11e9, 2)
    assert second.entry.codec == "tae"
    assert second.entry.size == entry.size
    assert [note.split(" (")[0] for note in second.notes] == [
        "the text encoder runs on the CPU, which a new prompt waits for",
        "the tiny codec taew2_1.pth stands for Wan's, with fewer details",
    ]


def test_weights_are_rounded_before_pictures_become_smaller() -> None:
    entry = find("krea-14b")
    plan = planned(entry, 30e9, 2)
    assert (plan.fits, plan.float8, plan.entry.size) == (True, True, entry.size)
    assert plan.notes[-1].startswith("weights are kept in float8 and cast at each use")
    assert not planned(entry, 44e9, 2).float8, "there is room without"


def test_a_render_keeps_its_pictures_as_they_are_while_weights_can_wait_in_the_hosts_memory() -> None:
    entry = find("krea-14b")
    plan = planned(entry, 24e9, 2, slowly=True)
    assert (plan.fits, plan.entry, plan.float8, plan.offloaded) == (True, entry, False, True)
    assert [note.split(" (")[0] for note in plan.notes] == [
        "the text encoder runs on the CPU, which a new prompt waits for",
        "weights wait in the host's memory and are copied to the card at each pass, which is slower",
    ]
    live = planned(entry, 24e9, 2)
    assert (live.offloaded, live.float8) == (False, True)
    assert not planned(entry, 60e9, 2, slowly=True).offloaded, "there is room without"


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("room", [4e9, 6e9, 8e9, 12e9, 16e9, 24e9, 48e9, 80e9])
@pytest.mark.parametrize("slowly", [False, True])
def test_every_plan_takes_less_and_can_be_rolled_out(name: str, room: float, slowly: bool) -> None:
    entry = find(name)
    plan, whole = planned(entry, room, 2, slowly=slowly), planned(entry, float("inf"), 2)
    assert plan.fits is (plan.total <= room)
    assert plan.total <= whole.total
    assert plan.fits or len(plan.notes) >= 4, "all changes are tried before a card is too small"
    unit = 2 * entry.stride
    assert plan.entry.size[0] % unit == plan.entry.size[1] % unit == 0
    assert plan.entry.rollout.window <= entry.rollout.window  # its own checks have run
    saved = sum(float(note.rpartition("(")[2].split()[0]) for note in plan.notes)
    assert saved == pytest.approx((whole.total - plan.total) / 1e9, abs=0.05 * len(plan.notes) + 0.01)


@pytest.mark.parametrize(("name", "room"), [("longlive-1.3b", 8e9), ("longlive2-5b", 24e9), ("krea-14b", 24e9)])
def test_usual_cards_hold_these_models(name: str, room: float) -> None:
    assert planned(find(name), room, 2).fits


class Allocations(TorchDispatchMode):
    """Count the bytes of all tensors that are made and still held, and the most of them at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._holders: dict[int, int] = {}  # of storages, by address

    def __torch_dispatch__(
        self, operation: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                storage = made.untyped_storage()
                address, size = storage._cdata, storage.nbytes()
                self._now += 0 if self._holders.get(address) else size
                self._holders[address] = self._holders.get(address, 0) + 1
                weakref.finalize(made, self._let_go, address, size)
        self.peak = max(self.peak, self._now)
        return result

    def _let_go(self, address: int, size: int) -> None:
        self._holders[address] -= 1
        self._now -= 0 if self._holders[address] else size


@pytest.mark.parametrize(
    "name",
    ["longlive-1.3b", "longlive2-5b", "causal-forcing-framewise", "streamdiffusion-v2", "pocket", "pocket-avatar"],
)
def test_a_plan_has_room_for_what_decoding_a_chunk_allocates(name: str) -> None:
    entry = replace(find(name), size=(256, 128))
    entry = entry if entry.tae is None else entry.with_codec("tae")
    channels, stride = entry.transformer["out_channels"], entry.stride
    with torch.device("meta"), torch.inference_mode():
        codec = TinyCodec(TAE[channels] if entry.codec == "tae" else TINY_CODECS[name])
        longest = max(entry.rollout.chunk, entry.rollout.grid.first_chunk)
        latents = torch.empty(1, channels, longest, 128 // stride, 256 // stride)
        _, memory = codec.decode(latents[:, :, :1])
        with Allocations() as counted:
            codec.decode(latents, memory)
    assert counted.peak <= decoding_bytes(entry)
    assert entry.codec == "tiny" or counted.peak >= 0.8 * decoding_bytes(entry)


def test_a_longer_window_has_room_for_its_recache() -> None:
    entry = find("longlive-1.3b").with_codec("tae")
    longer = replace(entry, rollout=replace(entry.rollout, window=36))
    assert planned(longer, 80e9, 2).working > 1.4 * planned(entry, 80e9, 2).working


def test_pictures_become_smaller_before_the_window_becomes_shorter() -> None:
    entry = find("longlive-1.3b")
    plans = [planned(entry, room * 1e8, 2) for room in range(90, 20, -1)]
    smaller = [plan.entry.size < entry.size for plan in plans]
    shorter = [plan.entry.rollout.window < entry.rollout.window for plan in plans]
    assert smaller == sorted(smaller)
    assert shorter == sorted(shorter)
    assert 0 < sum(shorter) < sum(smaller)


def test_a_plan_has_room_for_the_prompts_and_scenes_that_are_remembered() -> None:
    entry = find("longlive-1.3b")  # whose codec takes more than its passes
    assert planned(entry, 80e9, 2).working == decoding_bytes(entry) + REMEMBERED_BYTES + BUDGET
