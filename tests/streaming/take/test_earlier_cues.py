"""Test that cues are written as the journals of renders of earlier releases have them."""

from __future__ import annotations

import pytest

from models.cue import Cue, Cut, Hush, Parameter, Prompt, Reference, Seed
from streaming.take.legacy_cues import in_version_1

WRITTEN: list[tuple[Cue, str]] = [
    (Prompt('a "red" ball\'s'), "Prompt(text='a \"red\" ball\\'s', blend=1)"),
    (Prompt("x", 3), "Prompt(text='x', blend=3)"),
    (Cut(), "Cut()"),
    (Seed(7), "Seed(seed=7)"),
    (Hush(12), "Hush(frame=12)"),
    (Parameter("anchor", "fixed"), "Parameter(name='anchor', value='fixed')"),
    (Reference(bytes(12), 2, 2), "Reference(2x2, 24f29c3559b2b01f)"),
]


@pytest.mark.parametrize(("cue", "written"), WRITTEN)
def test_a_cue_is_written_as_version_1_did(cue: Cue, written: str) -> None:
    assert in_version_1(cue) == written
