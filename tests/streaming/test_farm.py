"""Test that a farm goes on after kills, gives up where nothing gets on, and leaves no process behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from streaming.farm import MOST_RETRIES, Farm, FarmTask, Outcome
from streaming.film_note import FilmNote, is_finished, note_of, take_hash, write_note
from streaming.render_files import RenderFiles
from streaming.render_process import Program, RenderProcesses
from streaming.take.take_file import CueLine, Take

# programs that are called with the film and its journal; each notes its start in a file beside the film
START = "import os, signal, sys; film, log = sys.argv[1:]; open(film + '.starts', 'a').write(f'{os.getpid()} ')\n"
KILLED = START + "os.kill(os.getpid(), signal.SIGKILL)"
ADDS_A_CHECKPOINT = START + (
    'open(log, \'a\').write(\'{"type":"chunk"}\\n\' * 5 + \'{"type":"checkpoint"}\\n\')\n'
    "if open(log).read().count('checkpoint') < 7: os.kill(os.getpid(), signal.SIGKILL)\n"
    "open(film, 'w').write('whole')"
)
FAILS = START + "print('note: a word is unknown', file=sys.stderr); sys.exit('error: the take is no take')"
WAITS = START + "import time; time.sleep(60)"


@dataclass
class Film:
    name: str
    whole: FarmTask
    parts: Sequence[FarmTask] = ()
    done: list[str] = field(default_factory=list)

    def join(self) -> list[str]:
        self.done.append("joined")
        return []

    def finish(self) -> None:
        self.done.append("finished")


def task(folder: Path, name: str, code: str) -> FarmTask:
    film = folder / f"{name}.mp4"
    files = RenderFiles(film)
    files.folder.mkdir()
    arguments = [sys.executable, "-c", code, str(film), str(files.journal)]
    processes = RenderProcesses("cpu", lambda: False)
    return FarmTask(film, 35, lambda worker: processes.run(Program(arguments, folder, {}), lambda state: None))


def starts(film: Path) -> list[int]:
    """Return the ids of the processes that were started for a film."""
    path = Path(f"{film}.starts")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


async def farmed(*films: Film, workers: int = 2) -> list[Outcome]:
    async with asyncio.timeout(60):
        return await Farm(films, workers, lambda outcome: None).run()


@pytest.mark.asyncio
async def test_a_process_that_gets_on_is_started_again_however_often_it_is_killed(tmp_path: Path) -> None:
    film = Film("a", task(tmp_path, "a", ADDS_A_CHECKPOINT))
    (outcome,) = await farmed(film)
    assert (outcome.why, film.done) == ("", ["joined", "finished"])
    assert len(starts(film.whole.film)) == 7
    assert outcome.notes[0] == "its process was killed after 5 chunks; it was gone on with"


@pytest.mark.asyncio
async def test_a_process_that_is_killed_before_it_gets_on_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    killed = Film("killed", task(tmp_path, "killed", KILLED))
    fails = Film("fails", task(tmp_path, "fails", FAILS))
    other = Film("other", task(tmp_path, "other", START + "open(film, 'w').write('whole')"))
    outcomes = await farmed(killed, fails, other, workers=1)
    assert len(starts(killed.whole.film)) == 1 + MOST_RETRIES
    assert "killed 4 times before it got on" in outcomes[0].why
    assert (outcomes[1].why, outcomes[1].notes) == ("the take is no take", ["a word is unknown"])
    assert [film.done for film in (killed, fails, other)] == [["joined"], ["joined"], ["joined", "finished"]]


@pytest.mark.asyncio
async def test_a_film_is_put_together_once_all_of_its_parts_are_done(tmp_path: Path) -> None:
    writes = START + "open(film, 'w').write('part')"
    good = Film("good", task(tmp_path, "a", writes), [task(tmp_path, name, writes) for name in "bc"])
    bad = Film("bad", task(tmp_path, "d", writes), [task(tmp_path, "e", writes), task(tmp_path, "f", FAILS)])
    first, second = await farmed(good, bad)
    assert (first.why, good.done) == ("", ["joined", "finished"])
    assert (second.why, bad.done) == ("the take is no take", [])
    assert starts(bad.whole.film) == []


@pytest.mark.asyncio
async def test_a_farm_that_is_stopped_leaves_no_process_behind(tmp_path: Path) -> None:
    films = [Film(name, task(tmp_path, name, WAITS)) for name in "abc"]
    farming = asyncio.create_task(farmed(*films))
    async with asyncio.timeout(30):
        while len([pid for film in films for pid in starts(film.whole.film)]) < 2:
            await asyncio.sleep(0.02)
    farming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await farming
    pids = [pid for film in films for pid in starts(film.whole.film)]
    assert len(pids) == 2  # as many as there are workers
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


TAKE = Take(cues=[CueLine(prompt="one", start="a.png")])


@pytest.mark.parametrize("change", ["take", "picture", "weights", "film", "note"])
def test_a_film_is_finished_while_nothing_of_it_changes(tmp_path: Path, change: str) -> None:
    film, picture = tmp_path / "a.mp4", tmp_path / "a.png"
    film.write_bytes(b"film")
    picture.write_bytes(b"picture")

    def note(take: Take = TAKE, weights: str = "1") -> FilmNote:
        return FilmNote(take=take_hash(take, tmp_path), made_with={"weights": weights})

    write_note(film, note(), finished=False)
    assert not is_finished(film, note())
    write_note(film, note(), finished=True)
    assert is_finished(film, note())
    now = note(TAKE.model_copy(update={"seed": 1})) if change == "take" else note()
    if change == "picture":
        picture.write_bytes(b"another")
        now = note()
    elif change == "weights":
        now = note(weights="2")
    elif change == "film":
        film.write_bytes(b"fil")
    elif change == "note":
        note_of(film).write_bytes(b"{")
    assert not is_finished(film, now)
