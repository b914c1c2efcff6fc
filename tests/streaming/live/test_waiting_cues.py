"""Test that of the cues that wait for a chunk the right ones land, merged, and that undo takes back the newest."""

from __future__ import annotations

import pytest

from streaming.live.pacing import LookAhead
from streaming.live.waiting_cues import MOST, WaitingCue, WaitingCues, kept_of, merged
from streaming.take.take_file import CueLine


def waiting(*lines: CueLine) -> WaitingCues:
    """Return a queue to which these cues came one after another, from commands 0, 1, …"""
    cues = WaitingCues()
    for number, line in enumerate(lines):
        cues.add(WaitingCue(line, number, float(number)))
    return cues


def landing(*lines: CueLine) -> list[CueLine]:
    return merged(waiting(*lines).take(LookAhead.SMOOTH, 0))


def test_the_newest_prompt_lands_with_the_cut_of_an_earlier_one() -> None:
    (landed,) = landing(CueLine(prompt="one", cut=True), CueLine(prompt="two", blend=3))
    assert (landed.prompt, landed.blend, landed.cut) == ("two", 3, True)
    (landed,) = landing(CueLine(prompt="one"), CueLine(prompt="two"))
    assert not landed.cut


def test_a_cut_without_a_prompt_makes_the_prompt_after_it_a_cut() -> None:
    *_, landed = landing(CueLine(cut=True), CueLine(prompt="two"))
    assert (landed.prompt, landed.cut) == ("two", True)


def test_only_the_newest_seed_lands() -> None:
    assert [line.seed for line in landing(CueLine(seed=1), CueLine(seed=2), CueLine(seed=3))] == [3]


def test_a_seed_keeps_the_prompt_before_it_and_settings_all_land() -> None:
    lines = landing(CueLine(set={"anchor": "fixed"}), CueLine(prompt="one"), CueLine(seed=1), CueLine(seed=2))
    assert [(line.prompt, line.seed, line.set) for line in lines] == [
        (None, None, {"anchor": "fixed"}),
        ("one", None, {}),
        (None, 2, {}),
    ]


def test_undo_takes_back_the_newest_cue_that_a_command_asked_for() -> None:
    cues = waiting(CueLine(prompt="one"), CueLine(prompt="two"), CueLine(seed=1))
    cues.add(WaitingCue(CueLine(hush=5), None, 3.0))
    assert [cues.undo(), cues.undo()] == [2, 1]
    assert [cue.line.prompt for cue in cues.take(LookAhead.SMOOTH, 0)] == ["one", None]
    assert cues.undo() is None


def test_lossless_lands_one_prompt_at_a_time_with_what_came_before_the_next() -> None:
    cues = waiting(CueLine(prompt="one"), CueLine(seed=1), CueLine(prompt="two"), CueLine(seed=2))
    assert [cue.number for cue in cues.next(LookAhead.LOSSLESS, 0)] == [0, 1]
    assert [[cue.number for cue in cues.take(LookAhead.LOSSLESS, 0)] for _ in range(3)] == [[0, 1], [2, 3], []]


def test_cues_of_a_chunk_that_was_given_up_land_before_newer_ones() -> None:
    cues = waiting(CueLine(prompt="one"))
    given_up = cues.take(LookAhead.SMOOTH, 0)
    cues.add(WaitingCue(CueLine(prompt="two"), 1, 1.0))
    cues.put_back(given_up)
    assert [cue.line.prompt for cue in cues.take(LookAhead.SMOOTH, 0)] == ["one", "two"]


@pytest.mark.parametrize(
    ("first", "lands"),
    [(0, [0]), (3, [0]), (9, [0, 2]), (12, [0, 2, 1]), (99, [0, 2, 1])],
)
def test_a_cue_for_a_latent_lands_on_the_first_chunk_from_there_on_behind_those_for_now(
    first: int, lands: list[int]
) -> None:
    cues = waiting(CueLine(prompt="now"))
    cues.add(WaitingCue(CueLine(prompt="at ten"), 1, 1.0, at=10))
    cues.add(WaitingCue(CueLine(prompt="at nine"), 2, 2.0, at=9))
    assert [cue.number for cue in cues.to_come()] == [2, 1]
    assert [cue.number for cue in cues.next(LookAhead.SMOOTH, first)] == lands
    assert [cue.number for cue in cues.take(LookAhead.SMOOTH, first)] == lands
    assert len(cues) == 3 - len(lands)


def test_undo_leaves_cues_to_come_alone_and_they_are_removed_by_their_number() -> None:
    cues = waiting(CueLine(prompt="now"))
    cues.add(WaitingCue(CueLine(prompt="later"), 1, 1.0, at=30))
    assert [cues.undo(), cues.undo()] == [0, None]
    cues.remove(1)
    with pytest.raises(ValueError, match="command 1 waits"):
        cues.remove(1)


def test_a_cue_beyond_the_bound_is_refused() -> None:
    cues = waiting(*(CueLine(seed=i) for i in range(MOST)))
    with pytest.raises(ValueError, match="too many cues wait"):
        cues.add(WaitingCue(CueLine(seed=1), 99, 0.0))
    assert len(cues) == MOST


def test_one_of_more_cues_than_may_wait_is_still_replaced() -> None:
    cues = waiting(*(CueLine(prompt=str(i)) for i in range(MOST)))
    cues.put_back([WaitingCue(CueLine(seed=1), None, 0.0)])  # of a chunk that was given up
    cues.add(WaitingCue(CueLine(prompt="new"), 99, 1.0), cues.of(5))
    assert (len(cues), cues.of(99).line.prompt) == (MOST + 1, "new")
    with pytest.raises(ValueError, match="command 5 waits"):
        cues.of(5)


def test_a_cue_of_a_number_that_waits_is_refused_and_takes_nothing_away() -> None:
    cues = waiting(CueLine(prompt="one"), CueLine(prompt="two"))
    for old in (None, cues.of(0), cues.of(1)):
        with pytest.raises(ValueError, match="command 1 waits already"):
            cues.add(WaitingCue(CueLine(prompt="again"), 1, 2.0), old)
    assert [cue.line.prompt for cue in cues.take(LookAhead.SMOOTH, 0)] == ["one", "two"]


def test_a_text_error_removes_the_prompt_with_that_text_and_no_other_cue_of_the_number() -> None:
    cues = waiting(CueLine(seed=1), CueLine(prompt="broken"))
    assert not cues.refuse(0, "broken")  # the prompt of command 0 has landed, and the number was given again
    assert cues.refuse(1, "broken")
    assert len(cues) == 1


def test_what_is_asked_for_now_after_a_prompt_to_come_lands_on_the_same_chunk_in_its_place() -> None:
    cues = waiting(CueLine(seed=1))
    cues.add(WaitingCue(CueLine(prompt="planned"), 1, 1.0, at=9))
    cues.add(WaitingCue(CueLine(prompt="now"), 2, 2.0))
    assert [cue.number for cue in kept_of(cues.next(LookAhead.SMOOTH, 9))] == [0, 2]
    assert [[c.number for c in cues.take(LookAhead.LOSSLESS, 9)] for _ in range(3)] == [[0], [1], [2]]
