"""Draw standard normal numbers by a counter: the same bits on every device, whatever was drawn before.

Random words are Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): NumPy's on a
CPU, elsewhere computed with integers on the device. A word becomes a normal number by the inverse of the distribution
function, which is read from a table with a straight line between two entries. Nothing in it is rounded differently by
another device (no logarithm, no cosine, no fused multiply-add). It errs by 1e-6 at most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

ROUNDS, LANES = 10, 8  # rounds of Philox; 32-bit words of a block
_MULTIPLIERS, _WEYL = (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF
_LINES = 256  # straight lines between a probability and its double
_DOUBLINGS = 32  # from probabilities of 2^-33 up to 0.5


def normal(key: int, counter: tuple[int, int, int], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return standard normal numbers [shape] float32, each -6.4 … 6.4, that depend on key and counter alone.

    The key and the three words of the counter are taken modulo 2^64. Those of a longer shape begin with those of a
    shorter one.
    """
    count = math.prod(shape)
    blocks = -(-count // LANES)
    words = by_numpy(key, counter, blocks) if device.type == "cpu" else by_torch(key, counter, blocks, device)
    return normal_of(words[:count]).view(shape)


def by_numpy(key: int, counter: tuple[int, int, int], blocks: int) -> Tensor:
    """Return the words of blocks 0 … blocks - 1, int64; NumPy counts up before it draws a block."""
    first = sum((word % 2**64) << (64 * place) for place, word in enumerate(counter, 1))
    raw = np.random.Philox(key=key % 2**64, counter=(first - 1) % 2**256).random_raw(4 * blocks)
    return torch.from_numpy(raw.astype("<u8", copy=False).view("<u4").astype(np.int64))


def by_torch(key: int, counter: tuple[int, int, int], blocks: int, device: torch.device) -> Tensor:
    """Return the words that `by_numpy` does, computed on a device."""
    places = torch.arange(blocks, dtype=torch.int64, device=device)
    words = philox(torch.stack([places, *(torch.full_like(places, _signed(word)) for word in counter)]), (key, 0))
    return torch.stack([words & _LOW, (words >> 32) & _LOW], -1).transpose(0, 1).flatten()


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Return a block of four random words [4, n] for each counter [4, n]; int64 tensors that hold unsigned words.

    A round is the same for the first two words and the last two, so that both go through it together: a small tensor
    costs a device as much as one of twice its size.
    """
    factors, halves, steps = _constants(counter.device)
    first, second = (_signed(word) for word in key)
    keys = torch.stack([steps[:, 0] + first, steps[:, 1] + second], 1)
    left, right = counter[0::2], counter[1::2]
    for place in range(ROUNDS):
        high, low = _product(left, factors, halves)
        left, right = high.flip(0) ^ right ^ keys[place], low.flip(0)
    return torch.stack([left, right], 1).flatten(0, 1)


@lru_cache(maxsize=8)
def _constants(device: torch.device) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Return Philox's factors [2, 1], their lower and higher halves, and what each round adds to the key [10, 2, 1]."""
    factors = torch.tensor([[_signed(factor)] for factor in _MULTIPLIERS])
    halves = torch.tensor([[[factor & _LOW] for factor in _MULTIPLIERS], [[factor >> 32] for factor in _MULTIPLIERS]])
    steps = torch.tensor([[[_signed(place * step)] for step in _WEYL] for place in range(ROUNDS)])
    small, large = halves.to(device)
    return factors.to(device), (small, large), steps.to(device)


def _product(word: Tensor, factor: Tensor, halves: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the higher and the lower 64 bits of a product of unsigned words, from products of their halves."""
    (small, large), low, high = halves, word & _LOW, (word >> 32) & _LOW
    middle = high * small + ((low * small >> 32) & _LOW)
    carried = low * large + (middle & _LOW)
    return high * large + ((middle >> 32) & _LOW) + ((carried >> 32) & _LOW), word * factor


def _signed(word: int) -> int:
    """Return the signed number that has the 64 bits of an unsigned one."""
    word %= 2**64
    return word - 2**64 if word >= 2**63 else word


def normal_of(words: Tensor) -> Tensor:
    """Return a standard normal number, float32, for each random word (int64, 0 … 2^32 - 1).

    The top bit is the sign. The others, with a half behind them, are a probability in (0, 0.5), whose float64 has what
    the table is read by: exponent and first bits say which line, the bits behind them how far along it.
    """
    starts, falls = _table(words.device)
    bits = (2 * (words & 0x7FFFFFFF) + 1).double().view(torch.int64)
    line = (bits >> 44) - 1023 * _LINES
    along = ((bits >> 21) & 0x7FFFFF).float() * 2.0**-23
    size = starts.index_select(0, line) - along * falls.index_select(0, line)
    return torch.where(words >= 2**31, -size, size)


@lru_cache(maxsize=8)
def _table(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the size of a normal number at the start of each line, and how much it falls along it; float32."""
    ends = torch.tensor(table_ends(), dtype=torch.float64).float()
    return ends[:-1].to(device), (ends[:-1] - ends[1:]).to(device)


def table_ends() -> list[float]:
    """Return the sizes of a normal number at the ends of the table's lines, from the largest down to 0."""
    size = NormalDist().inv_cdf
    starts = ((1 << doubling) * (1 + line / _LINES) for doubling in range(_DOUBLINGS) for line in range(_LINES))
    return [*(-size(start / 2**33) for start in starts), 0.0]
