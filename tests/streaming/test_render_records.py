"""A server goes on with the renders that were under way when the one before it was killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.background_renders import ANOTHER, MOST_TRIES, BackgroundRenders
from streaming.job_table import JobTable
from streaming.render_files import RenderFiles
from streaming.render_process import Program
from streaming.render_records import RenderRecord
from streaming.take.archive import Archive
from streaming.take.take_file import CueLine, Take
from streaming.video_files import VideoFiles

pytestmark = pytest.mark.asyncio

FIRST, SECOND, THIRD = "00000000000a", "00000000000b", "00000000000c"
TAKE = Take(model="pocket", seed=5, length=7, cues=[CueLine(prompt="one")])
RENDERS = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read())"
NEVER_ENDS = "import time; time.sleep(60)"


def server(folder: Path, code: str) -> BackgroundRenders:
    """Return the renders of a server whose program is Python code; its `sys.argv[1:]` is [take file, film]."""

    def program(model: str, take: Path, film: Path) -> Program:
        return Program([sys.executable, "-c", code, str(take), str(film)], folder, {})

    archive, table, videos = Archive(folder / "takes"), JobTable(folder / "jobs.sqlite"), VideoFiles(folder / "videos")
    return BackgroundRenders(archive, table, videos, program, device="cpu", watched=lambda: False)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def states(renders: BackgroundRenders, *names: str) -> list[str | None]:
    found = [renders.progress(name) for name in names]
    return [progress.state if progress is not None else None for progress in found]


def asked(folder: Path) -> dict[str, str]:
    return {job.name: job.state for job in JobTable(folder / "jobs.sqlite").read()}


async def test_what_was_asked_for_is_rendered_by_the_next_server_in_its_order(tmp_path: Path) -> None:
    killed = server(tmp_path, NEVER_ENDS)
    for name in (THIRD, FIRST, SECOND):
        await killed.start(name, TAKE)
    await until(lambda: states(killed, THIRD) == ["rendering"])
    killed.cancel(FIRST)
    await until(lambda: asked(tmp_path) == {THIRD: "asked", FIRST: "cancelled", SECOND: "asked"})
    after = server(tmp_path, NEVER_ENDS)  # the first is not told of its end, as by a kill
    await after.go_on()
    await until(lambda: states(after, THIRD, FIRST, SECOND) == ["rendering", "cancelled", "waiting"])
    progress = after.progress(SECOND)
    assert progress is not None
    assert (progress.chunks, progress.done) == (3, 0)
    after.cancel(THIRD)
    await until(lambda: states(after, THIRD, SECOND) == ["cancelled", "rendering"])
    await after.close()
    last = server(tmp_path, RENDERS)
    await last.go_on()
    await until(lambda: states(last, THIRD, FIRST, SECOND) == ["cancelled", "cancelled", "done"])
    await until(lambda: asked(tmp_path)[SECOND] == "done")
    told = server(tmp_path, RENDERS)
    await told.go_on()
    assert states(told, THIRD, FIRST, SECOND) == ["cancelled", "cancelled", "done"]
    progress = told.progress(SECOND)
    assert progress is not None
    assert (progress.film, progress.done, progress.chunks) == (True, 3, 3)
    await killed.close()


async def test_why_a_render_failed_is_known_to_the_next_server(tmp_path: Path) -> None:
    failing = server(tmp_path, "import sys; print('error: no space', file=sys.stderr); sys.exit(1)")
    await failing.start(FIRST, TAKE)
    await until(lambda: asked(tmp_path) == {FIRST: "failed"})
    after = server(tmp_path, RENDERS)
    await after.go_on()
    progress = after.progress(FIRST)
    assert progress is not None
    assert (progress.state, progress.why) == ("failed", "no space")
    await after.start(FIRST, TAKE)
    await until(lambda: states(after, FIRST) == ["done"])


async def test_a_render_with_which_servers_are_killed_again_and_again_waits_for_a_person(tmp_path: Path) -> None:
    killed = [server(tmp_path, NEVER_ENDS) for _ in range(MOST_TRIES)]
    await killed[0].start(FIRST, TAKE)
    for number, one in enumerate(killed):
        await one.go_on() if number else None
        await until(lambda n=number: [job.tries for job in JobTable(tmp_path / "jobs.sqlite").read()] == [n + 1])
    last = server(tmp_path, RENDERS)
    await last.go_on()
    progress = last.progress(FIRST)
    assert progress is not None
    assert (progress.state, progress.why) == (
        "failed",
        "the server was killed 3 times while it was rendered; try it again",
    )
    await last.start(FIRST, TAKE)
    await until(lambda: states(last, FIRST) == ["done"])
    for one in killed:
        await one.close()


async def test_a_server_that_is_stopped_in_the_usual_way_does_not_count_as_killed(tmp_path: Path) -> None:
    for _ in range(MOST_TRIES + 1):
        stopped = server(tmp_path, NEVER_ENDS)
        await (stopped.go_on() if asked(tmp_path) else stopped.start(FIRST, TAKE))
        await until(lambda s=stopped: states(s, FIRST) == ["rendering"])
        await stopped.close()
    assert asked(tmp_path) == {FIRST: "asked"}


@pytest.mark.parametrize("kind", ["", ".silent"])
async def test_a_render_waits_for_another_process_that_renders_the_same_film(tmp_path: Path, kind: str) -> None:
    renders = server(tmp_path, RENDERS)
    files = RenderFiles(tmp_path / "takes" / f"{FIRST}{kind}.mp4")
    files.folder.mkdir()
    with files.locked():
        await renders.start(FIRST, TAKE)
        await renders.start(SECOND, TAKE)
        await until(lambda: states(renders, FIRST, SECOND) == ["waiting", "done"])
        progress = renders.progress(FIRST)
        assert progress is not None
        assert progress.why == ANOTHER
    await until(lambda: states(renders, FIRST) == ["done"])


async def test_records_that_cannot_be_read_and_takes_that_are_gone_do_not_keep_a_server_from_starting(
    tmp_path: Path,
) -> None:
    archive = Archive(tmp_path / "takes")
    earlier = {FIRST: RenderRecord(state="asked", asked=1.0, model="pocket", chunks=3)}
    earlier[SECOND] = RenderRecord(state="asked", asked=2.0, model="gone", chunks=3)
    for name, record in earlier.items():
        (archive.folder / f"{name}.render.json").write_text(record.model_dump_json())
    archive.write(SECOND, TAKE)
    (archive.folder / f"{THIRD}.render.json").write_text('{"state": "asked"')
    renders = server(tmp_path, RENDERS)
    await renders.go_on()
    assert states(renders, FIRST, SECOND, THIRD) == ["failed", "failed", None]
    whys = [progress.why for name in (FIRST, SECOND) if (progress := renders.progress(name)) is not None]
    assert "cannot be read" in whys[0]
    assert str(tmp_path) not in whys[0]
    assert "no model is called 'gone'" in whys[1]
