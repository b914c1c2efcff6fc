"""Test that background renders give way to viewers, report why they failed, and never share a file."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import tiny_model

from streaming import render_process
from streaming.background_renders import BackgroundRenders
from streaming.job_table import JobTable
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.render_process import Program, without_folders
from streaming.take.archive import Archive
from streaming.take.take_file import CueLine, Take
from streaming.video_files import VideoFiles

NAME = "0123456789ab"
TAKE = Take(model="pocket", seed=5, length=1, cues=[CueLine(prompt="one")])


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def renders(
    folder: Path, code: str, *, device: str = "cpu", watched: Callable[[], bool] = lambda: False
) -> BackgroundRenders:
    """Return renders whose program is Python code; its `sys.argv[1:]` is [take file, film]."""

    def program(model: str, take: Path, film: Path) -> Program:
        return Program([sys.executable, "-c", code, str(take), str(film)], folder, {})

    archive, table, videos = Archive(folder / "takes"), JobTable(folder / "jobs.sqlite"), VideoFiles(folder / "videos")
    return BackgroundRenders(archive, table, videos, program, device=device, watched=watched)


def state(rendering: BackgroundRenders) -> str | None:
    progress = rendering.progress(NAME)
    return progress.state if progress else None


@pytest.mark.asyncio
async def test_a_render_that_succeeds_is_done_and_has_a_film(tmp_path: Path) -> None:
    rendering = renders(tmp_path, "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read())")
    assert rendering.progress(NAME) is None
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) == "done")
    progress = rendering.progress(NAME)
    assert progress is not None
    assert progress.film
    assert progress.done == progress.chunks == 1
    assert "prompt: one" in rendering.film(NAME).read_text()
    earlier = renders(tmp_path, "").progress(NAME)  # as a server that was started later sees it
    assert earlier is not None
    assert (earlier.state, earlier.film) == ("done", True)


@pytest.mark.asyncio
async def test_on_a_gpu_a_render_is_stopped_while_a_session_has_viewers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_process, "POLL_SECONDS", 0.02)
    watched = [True]
    rendering = renders(tmp_path, "import time; time.sleep(60)", device="cuda", watched=lambda: watched[0])
    before = set(psutil.Process().children())
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) == "held")
    (process,) = set(psutil.Process().children()) - before
    await until(lambda: process.status() == psutil.STATUS_STOPPED)
    watched[0] = False
    await until(lambda: state(rendering) == "rendering")
    await until(lambda: process.status() != psutil.STATUS_STOPPED)
    rendering.cancel(NAME)
    await until(lambda: state(rendering) == "cancelled")
    await until(lambda: not process.is_running())
    with pytest.raises(KeyError):
        rendering.cancel(NAME)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_a_render_that_is_cancelled_before_it_begins_is_cancelled(tmp_path: Path, how: str) -> None:
    rendering = renders(tmp_path, "")
    await rendering.start(NAME, TAKE)
    assert state(rendering) == "waiting"
    if how == "cancel":
        rendering.cancel(NAME)
    else:
        await rendering.close()
    await until(lambda: state(rendering) == "cancelled")
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) == "done")


@pytest.mark.asyncio
async def test_a_render_that_fails_says_why_in_one_line_without_folders(tmp_path: Path) -> None:
    code = "import sys; print('a trace\\nerror: pocket: /some/folder/x.pt is missing', file=sys.stderr); sys.exit(1)"
    rendering = renders(tmp_path, code)
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) == "failed")
    progress = rendering.progress(NAME)
    assert progress is not None
    assert progress.why == "pocket: x.pt is missing"
    crashed = renders(tmp_path, "import sys; sys.exit(3)")
    await crashed.start(NAME, TAKE)
    await until(lambda: state(crashed) == "failed")
    progress = crashed.progress(NAME)
    assert progress is not None
    assert progress.why == "it ended with code 3; start it again to go on"


# notes its start beside the film, adds CHUNKS chunks to the journal, and is killed KILLS times
KILLED = """
import os, pathlib, signal, sys
film = pathlib.Path(sys.argv[2])
starts, log = film.with_suffix(".starts"), film.with_suffix(".render") / "journal.jsonl"
starts.open("a").write("x")
if not log.exists():
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text('{"type":"take"}\\n')
for _ in range(CHUNKS):
    log.open("a").write('{"type":"chunk","first":0,"hash":"0"}\\n')
if len(starts.read_text()) <= KILLS:
    os.kill(os.getpid(), signal.SIGKILL)
film.write_text("whole")
"""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kills", "chunks", "starts", "ends"),
    [(2, 0, 3, "done"), (6, 1, 7, "done"), (9, 0, 3, "failed")],
    ids=["twice before it gets on", "again and again", "always before it gets on"],
)
async def test_a_render_whose_process_is_killed_goes_on_until_it_was_killed_three_times_in_a_row_without_a_chunk(
    tmp_path: Path, kills: int, chunks: int, starts: int, ends: str
) -> None:
    code = KILLED.replace("KILLS", str(kills)).replace("CHUNKS", str(chunks))
    rendering = renders(tmp_path, code)
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) in ("done", "failed"), 120)  # the processes have the lowest priority
    progress = rendering.progress(NAME)
    assert progress is not None
    assert (progress.state, progress.film) == (ends, ends == "done")
    assert ("killed 3 times before it got on" in progress.why) is (ends == "failed")
    assert len(rendering.film(NAME).with_suffix(".starts").read_text()) == starts
    await rendering.close()


@pytest.mark.asyncio
async def test_after_a_full_disk_the_take_can_be_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendering = renders(tmp_path, "")

    def full(archive: Archive, name: str, take: Take) -> Path:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "write", full)
        with pytest.raises(OSError, match="no space"):
            await rendering.start(NAME, TAKE)
    assert rendering.progress(NAME) is None
    await rendering.start(NAME, TAKE)
    await until(lambda: state(rendering) == "done")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("m: /home/me/models/x.pt is missing", "m: x.pt is missing"),
        ("'/a/b c' is there, (/srv/takes/t.yaml) is not", "'b c' is there, (t.yaml) is not"),
        ("an offer has the content type application/sdp", "an offer has the content type application/sdp"),
        ("see https://example.org/a/b or 3/4/5", "see https://example.org/a/b or 3/4/5"),
    ],
)
def test_a_message_for_a_viewer_names_files_but_no_folders(message: str, said: str) -> None:
    assert without_folders(message) == said


def test_a_second_render_of_the_same_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    job = Job(TAKE, tiny_model(), out)
    job.files.folder.mkdir()
    with job.files.locked(), pytest.raises(RenderError, match=r"a\.mp4: another render is writing it"):
        job.run(go_on=False)
    job.run(go_on=False)
    assert out.exists()
