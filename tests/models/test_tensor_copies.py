"""What is kept for long lies apart, equals what it was made from, and is given back when it goes."""

from __future__ import annotations

import psutil
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tensor_copies import copied

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64)
shapes = st.lists(st.integers(0, 5), max_size=4)


@given(st.lists(st.tuples(shapes, st.sampled_from(TYPES)), max_size=6))
def test_copies_are_the_tensors_to_the_bit_and_stay_so(kinds: list[tuple[list[int], torch.dtype]]) -> None:
    tensors = [
        (100 * torch.rand(shape)).to(dtype).movedim(0, -1) if shape else torch.rand(()) for shape, dtype in kinds
    ]
    before = [t.clone() for t in tensors]
    copies = copied(tensors)
    for t in tensors:
        t.zero_()
    assert len(copies) == len(before)
    for copy, was in zip(copies, before, strict=True):
        assert copy.is_contiguous()
        assert copy.dtype == was.dtype
        assert torch.equal(copy, was)


def test_every_other_group_that_goes_is_given_back_to_the_system() -> None:
    """Small blocks of a heap would leave holes between those that stay."""
    process = psutil.Process()
    before = process.memory_info().rss
    held = [copied([torch.ones(4096)] * 32) for _ in range(400)]  # 210 MB
    full = process.memory_info().rss
    assert full - before > 150e6
    del held[::2]
    assert full - process.memory_info().rss > 90e6
