"""The power goes at any moment, and a render, a session's journal and a recording lose a fragment at most."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import tiny_model
from power_cut import Recorder

from streaming import render_files, render_job
from streaming.render_files import RenderFiles
from streaming.render_job import Job
from streaming.render_report import Report
from streaming.render_resume import PastRender, request_of
from streaming.rollout import Boundary
from streaming.take.take_file import parse

TAKE = "length: {length}\ncues:\n  - prompt: one\n  - at: 9\n    prompt: two\n"
CHUNKS = 2  # a fragment
MODEL = tiny_model()


@pytest.fixture(autouse=True)
def short_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_job, "CHUNKS_PER_FRAGMENT", CHUNKS)
    monkeypatch.setattr(render_files, "MOST_CHECKPOINTS", 2)


def render(
    folder: Path,
    text: str = TAKE,
    length: int = 21,
    recorder: Recorder | None = None,
    *,
    resume: bool = False,
    more: int | None = None,
    start: int | None = None,
) -> Report:
    """Do what `longtake render` does, with its options."""
    files, take = RenderFiles(folder / "a.mp4"), parse(text.format(length=length), "t.yaml")
    goes_on = resume or more is not None or start is not None
    request = request_of(take, MODEL.entry, files, more=more, start=start, anew=not goes_on)
    job = Job(request.take, MODEL, files.out, intent=request.intent, limit=request.limit)

    def drawn(boundary: Boundary, report: Report) -> None:
        if recorder is not None:
            recorder.mark("chunk")

    report = job.run(go_on=goes_on, progress=drawn)
    if recorder is not None:
        recorder.mark("film")
    job.end()
    return report


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the lock, which is empty."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


CHANGED = TAKE.replace("two", "three")
SCENES = {  # what was rendered before, if anything, and the command during which the power goes
    "render": (None, {}),
    "render another take over a film": ({}, {"text": CHANGED}),
    "extend": ({}, {"more": 9}),
    "from": ({}, {"start": 9}),
    "extend a changed take": ({}, {"text": CHANGED, "more": 9}),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_render_that_loses_power_becomes_the_same_film(
    scene: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command, or --resume once the journal knows what was asked for; drawn again is a fragment at most."""
    before, command = SCENES[scene]
    root, states = tmp_path / "root", tmp_path / "states"
    root.mkdir()
    states.mkdir()
    if before is not None:
        render(root, **before)
    with monkeypatch.context() as patch:
        recorder = Recorder(root, patch)
        first = render(root, recorder=recorder, **command)
    assert contents(recorder.replayed(tmp_path / "replayed")) == contents(root)  # nothing was written past it
    wanted, outcomes = (root / "a.mp4").read_bytes(), Counter[str]()
    for cut, how, state in recorder.states(states, every):
        where = f"step {cut} of {len(recorder.steps)}: {how}"
        done = recorder.marked("film", cut) > 0
        if done:
            assert (state / "a.mp4").read_bytes() == wanted, where
        intent = PastRender(RenderFiles(state / "a.mp4")).intent
        asked = intent is not None and (intent.more, intent.start) == (command.get("more"), command.get("start"))
        by_resume = {"resume": True} | ({"text": command["text"]} if "text" in command else {})
        again = render(state, **(by_resume if done or (asked and cut % 2) else command | by_resume))
        assert (state / "a.mp4").read_bytes() == wanted, where
        assert again.differing == []
        redrawn = again.chunks - (first.chunks - recorder.marked("chunk", cut))
        assert done or redrawn <= CHUNKS, where
        outcomes["drawn again: a fragment at most" if redrawn > 0 else "nothing drawn again"] += 1
        shutil.rmtree(state)
    print(f"{scene}: {len(recorder.steps)} steps, {sum(outcomes.values())} states, {dict(outcomes)}")
