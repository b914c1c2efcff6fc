"""Keep the blocks of a network in the host's memory, and have two of them on the device at a time, for slow renders.

While a block runs, the next one is copied beside it. A pass is slower by what the copies take beyond the block's own
time: 28 GB of weights at 25 GB/s take more than a second. The weights, and so the pictures, stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Block = TypeVar("Block", bound=nn.Module)

PLACES = 2  # blocks that are on the device at a time: the one that runs, and the one that is copied


class OffloadedBlocks(Generic[Block]):
    """Iterate over blocks of equal shapes, each on the device for as long as its turn lasts.

    Between its turns a block's parameters and buffers are those in the host's memory, page-locked for a GPU, so that
    whatever changes weights in place, as LoRAs do, changes those.
    """

    def __init__(self, blocks: Sequence[Block], device: torch.device) -> None:
        """Move the blocks to the host's memory, and take the place of PLACES of them on the device."""
        self.blocks = list(blocks)
        cuda = device.type == "cuda"
        self._host = [[_held(tensor, pinned=cuda) for tensor in _tensors(block)] for block in self.blocks]
        self._places = [[torch.empty_like(t, device=device) for t in self._host[0]] for _ in range(PLACES)]
        self._order = _Order(device) if cuda else None  # on a CPU copies and passes come one after another anyway

    def __iter__(self) -> Iterator[Block]:
        """Yield each block while its weights are on the device; a pass may end before the last one."""
        self._bring(0)
        for number, block in enumerate(self.blocks):
            if number + 1 < len(self.blocks):
                self._bring(number + 1)
            place = number % PLACES
            if self._order is not None:
                self._order.await_arrival(place)
            _point(block, self._places[place])
            try:
                yield block
            finally:
                _point(block, self._host[number])
                if self._order is not None:
                    self._order.leave(place)

    def _bring(self, number: int) -> None:
        """Copy a block to its place, once the block that was there before has run."""
        place = number % PLACES
        with nullcontext() if self._order is None else self._order.arriving(place):
            for there, held in zip(self._places[place], self._host[number], strict=True):
                there.copy_(held, non_blocking=True)


class _Order:
    """Keep copies on a stream of their own in order with what runs on the current stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)
        self._arrived = [torch.cuda.Event() for _ in range(PLACES)]
        self._left = [torch.cuda.Event() for _ in range(PLACES)]

    @contextmanager
    def arriving(self, place: int) -> Iterator[None]:
        """Have copies to a place wait for the block that runs there, and not the current stream for the copies."""
        with torch.cuda.stream(self._copies):
            self._copies.wait_event(self._left[place])  # nothing, the first time
            yield
            self._arrived[place].record(self._copies)

    def await_arrival(self, place: int) -> None:
        """Have the current stream wait for the copies to a place."""
        torch.cuda.current_stream(self._device).wait_event(self._arrived[place])

    def leave(self, place: int) -> None:
        """Let other copies have a place once all has run that the current stream was given so far."""
        self._left[place].record(torch.cuda.current_stream(self._device))


def _held(tensor: Tensor, *, pinned: bool) -> Tensor:
    """Move a tensor to the host's memory, and return its values there."""
    tensor.data = tensor.data.cpu().pin_memory() if pinned else tensor.data.cpu()
    return tensor.data


def _tensors(block: nn.Module) -> list[Tensor]:
    return [*block.parameters(), *block.buffers()]


def _point(block: nn.Module, tensors: Sequence[Tensor]) -> None:
    for own, new in zip(_tensors(block), tensors, strict=True):
        own.data = new
