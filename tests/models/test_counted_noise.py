"""Noise by a counter: Philox's known answers, the same bits from both of its programs, and normal numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counted_noise import by_numpy, by_torch, normal, normal_of, philox, table_ends
from models.noise import Noise, chunk_noise

CPU = torch.device("cpu")
WORD = 2**64
KINDS = (Noise.PHILOX, Noise.TORCH)
EVER = [
    "0x1.0829860000000p+0",
    "0x1.1b41ca0000000p-1",
    "0x1.7265700000000p-1",
    "-0x1.0c4c020000000p-1",
    "0x1.b91bda0000000p-3",
    "0x1.8670960000000p+0",
]
EVER_OF_TORCH = [0.4903466, -0.6657218, -1.7150705, 0.9399055, 0.651163, -1.3717741]

# of the reference implementation, Random123: its file `kat_vectors`, philox4x64 with 10 rounds
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    (
        (WORD - 1, WORD - 1, WORD - 1, WORD - 1),
        (WORD - 1, WORD - 1),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], answer: tuple[int, int, int, int]
) -> None:
    words = np.array([[word, word] for word in counter], np.uint64).view(np.int64)
    found = philox(torch.from_numpy(words), key)
    assert [[int(word) % WORD for word in row] for row in found] == [[word, word] for word in answer]


words = st.integers(0, WORD - 1)


@given(key=words, counter=st.tuples(words, words, words), blocks=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_a_device_computes_the_words_that_a_cpu_gets_from_numpy(
    key: int, counter: tuple[int, int, int], blocks: int
) -> None:
    found = by_torch(key, counter, blocks, CPU)
    assert torch.equal(found, by_numpy(key, counter, blocks))
    assert 0 <= int(found.min()) <= int(found.max()) < 2**32


def test_no_entry_of_the_table_could_be_rounded_otherwise_by_another_machines_logarithm() -> None:
    """An error of 45 units in the last place of float64 leaves every float32 entry as it is."""
    exact = np.array(table_ends()[:-1])
    rounded = exact.astype(np.float32)
    assert (np.diff(exact) < 0).all()
    for error in (-1e-14, 1e-14):
        assert ((exact * (1 + error)).astype(np.float32) == rounded).all()


@given(word=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_a_word_becomes_the_normal_number_of_its_probability(word: int) -> None:
    probability = (2 * (word & 0x7FFFFFFF) + 1) / 2**33
    size = -float(torch.special.ndtri(torch.tensor(probability, dtype=torch.float64)))
    found = float(normal_of(torch.tensor([word])))
    assert found == pytest.approx(-size if word >= 2**31 else size, abs=1.1e-6)
    assert float(normal_of(torch.tensor([word ^ 2**31]))) == -found


def test_a_million_numbers_are_as_normal_as_chance_allows() -> None:
    """Bounds are five standard deviations; Kolmogorov-Smirnov's is exceeded with probability 1e-5."""
    n = 2**20
    x = normal(7, (3, 1, 0), (n,), CPU).double()
    assert abs(float(x.mean())) < 5 / math.sqrt(n)
    assert abs(float(x.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float((x**3).mean())) < 5 * math.sqrt(15 / n)
    assert abs(float((x**4).mean()) - 3) < 5 * math.sqrt(96 / n)
    below, counts = torch.special.ndtr(x.sort().values), torch.arange(n + 1) / n
    apart = max(float((below - counts[:-1]).max()), float((counts[1:] - below).max()))
    assert apart * math.sqrt(n) < 2.47
    for lag in (1, 2, 3, 4, 5, 7, 8, 16, 1024):  # words of a block, neighbours of a row and of a column
        assert abs(float((x[lag:] * x[:-lag]).mean())) < 5 / math.sqrt(n - lag)


def test_neighbouring_seeds_chunks_steps_and_knots_have_noise_of_their_own() -> None:
    shape = (4, 3, 40, 40)
    drawn = [
        normal(seed, (chunk, step, knot), shape, CPU).flatten()
        for seed in (0, 1, 2**63 - 1)
        for chunk in (0, 1, 2)
        for step in (0, 1)
        for knot in (0, 1)
    ]
    alike = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert float(alike.abs().max()) < 5 / math.sqrt(drawn[0].numel())


def test_the_noise_of_a_longer_shape_begins_with_that_of_a_shorter_one() -> None:
    longer = normal(1, (2, 3, 0), (1001,), CPU)
    assert all(torch.equal(normal(1, (2, 3, 0), (n,), CPU), longer[:n]) for n in (1, 7, 8, 9, 1000))


def test_noise_keeps_its_bits_for_good() -> None:
    """Takes are drawn again from their seeds: these numbers may never change."""
    found, old = (chunk_noise(kind, [7], 3, 1, (1, 1, 2, 3), CPU, 0).flatten().tolist() for kind in KINDS)
    assert [value.hex() for value in found] == EVER
    assert old == pytest.approx(EVER_OF_TORCH, abs=1e-6)


def test_a_chunk_has_the_same_noise_with_and_without_a_knot_and_beside_other_seeds() -> None:
    for kind in KINDS:
        alone = chunk_noise(kind, [5], 2, 1, (4, 3, 2, 2), CPU, 0)
        both = chunk_noise(kind, [4, 5], 2, 1, (4, 3, 2, 2), CPU, 2)
        assert torch.equal(both[1:, :, :3], alone)
        assert both.shape == (2, 4, 5, 2, 2)
        assert both.unique().numel() == both.numel()


def test_a_take_is_drawn_from_the_generator_that_it_names() -> None:
    generator = tiny_model(knot=1).generator
    new, old = (generator.noise(generator.new_take(5, 32, 32, kind), 1) for kind in KINDS)
    assert torch.equal(new, chunk_noise(Noise.PHILOX, [5], 0, 1, (4, 3, 4, 4), CPU, 1))
    assert torch.equal(old, chunk_noise(Noise.TORCH, [5], 0, 1, (4, 3, 4, 4), CPU, 1))
