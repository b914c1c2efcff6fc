"""What a session needs in another process is read as it was written, and cues that have landed meanwhile are known."""

from __future__ import annotations

from pathlib import Path

from app.cluster.session_files import AskedCue, SessionFacts, SessionFiles, still_asked
from streaming.live.pacing import LookAhead
from streaming.take.history import TakeHistory
from streaming.take.take_file import CueLine, Take

SESSION = "0123456789abcdef" * 2


def asked(number: int, prompt: str, at: int | None = None) -> AskedCue:
    return AskedCue(number=number, line=CueLine(prompt=prompt, blend=2), at=at)


def facts(*cues: AskedCue, drawn: int = 30) -> SessionFacts:
    return SessionFacts(
        worker="worker-1", key="k" * 32, take="0123456789ab", shown=100, fps=16, playing=True, paused=False,
        look_ahead=LookAhead.SMOOTH, factor=0.3, kind="pocket", drawn=drawn, asked=list(cues),
    )  # fmt: skip


def past(*landed: tuple[int, str]) -> TakeHistory:
    history = TakeHistory("0123456789ab", Take(model="pocket", seed=1, cues=[CueLine(prompt="a red ball")]), None)
    history.landed = [CueLine(prompt=prompt, blend=2, landed=latent) for latent, prompt in landed]
    return history


def numbers(found: list[AskedCue]) -> list[int]:
    return [cue.number for cue in found]


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path)
    lines = [CueLine(seed=7), CueLine(prompt="two", cut=True)]
    written = facts(*(AskedCue(number=n, line=line) for n, line in enumerate(lines)), asked(9, "three", at=60))
    files.write(SESSION, written)
    assert files.read(SESSION) == written
    assert files.left() == {SESSION: written}


def test_a_cue_that_the_journal_has_landed_since_does_not_land_again() -> None:
    both = facts(asked(1, "two"), asked(2, "three", at=60))
    assert numbers(still_asked(both, past((0, "a red ball")))) == [1, 2]
    assert numbers(still_asked(both, past((0, "a red ball"), (30, "two")))) == [2]
    assert numbers(still_asked(both, past((30, "two"), (60, "three")))) == []
    assert numbers(still_asked(both, past((27, "two")))) == [1, 2], "it was asked for once more"
    assert numbers(still_asked(both, None)) == [1, 2]


def test_a_prompt_that_gave_way_to_a_newer_one_for_the_same_chunk_does_not_come_back() -> None:
    three = facts(asked(1, "two"), asked(2, "three"), asked(3, "four"), asked(4, "late", at=60))
    assert numbers(still_asked(three, past((30, "three")))) == [3, 4]
