"""Renders in the background give way to whoever watches, and two never write one file."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from conftest import tiny_model

from app.services import Studio
from streaming import background_renders as renders
from streaming.background_renders import Render, Renders
from streaming.render_job import Job, RenderError, _alone
from streaming.take.archive import Archive
from streaming.take.take_file import CueLine, Take

TAKE = Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")])


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_on_a_gpu_a_render_stands_still_while_somebody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renders, "LOOK_EVERY", 0.02)
    watched = [True]
    rendering = Renders(Archive(tmp_path), tmp_path, "cuda", lambda: watched[0], lambda model: "auto")
    render = Render("0123456789ab", "tiny", 5, "rendering")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    holding = asyncio.create_task(rendering._hold_while_busy(render, process))
    try:
        await until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        assert render.state == "held"
        watched[0] = False
        await until(lambda: psutil.Process(process.pid).status() != psutil.STATUS_STOPPED)
        assert render.state == "rendering"
    finally:
        holding.cancel()
        process.kill()
        await process.wait()


@pytest.mark.asyncio
async def test_a_render_that_fails_says_why_in_one_line_without_the_folder(tmp_path: Path) -> None:
    rendering = Renders(Archive(tmp_path / "takes"), tmp_path / "models", "cpu", lambda: False, lambda model: "auto")
    rendering.start("0123456789ab", TAKE.model_copy(update={"model": "longlive-1.3b"}))
    await until(lambda: (rendering.state("0123456789ab") or {})["state"] == "failed", 60)
    why = (rendering.state("0123456789ab") or {})["why"]
    assert "models pull longlive-1.3b" in why
    assert str(tmp_path) not in why
    await rendering.close()


@pytest.mark.asyncio
async def test_after_a_full_disk_the_take_can_be_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, name = Archive(tmp_path / "takes"), "0123456789ab"
    rendering = Renders(archive, tmp_path / "models", "cpu", lambda: False, lambda model: "torch")

    def full(name: str, take: Take) -> Path:
        raise OSError(errno.ENOSPC, "no space")

    take = TAKE.model_copy(update={"model": "longlive-1.3b"})
    with monkeypatch.context() as patch:
        patch.setattr(archive, "write", full)
        with pytest.raises(OSError, match="no space"):
            rendering.start(name, take)
    assert rendering.state(name) is None
    rendering.start(name, take)
    await until(lambda: (rendering.state(name) or {})["state"] == "failed", 60)  # it ran: its weights are not here
    await rendering.close()


@pytest.mark.asyncio
async def test_a_render_is_run_by_the_engine_that_the_server_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    async def no_program(*command: str, **_: object) -> None:
        commands.append(" ".join(command))
        raise OSError(errno.ENOENT, "no such program")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_program)
    studio = Studio(tmp_path / "models", tmp_path / "data", torch.device("cpu"))
    studio.engine_asked = "onnx:int8"
    studio._loaded["pocket"] = replace(tiny_model(), engine={"engine": "onnx", "precision": "int8", "runtime": "1"})
    studio._loaded["pocket-avatar"] = tiny_model()  # it has no such engine, and runs in torch
    # the last was not opened yet: nobody knows whether it has that engine
    for name, model in zip(
        ("0123456789ab", "0123456789ac", "0123456789ad"), ("pocket", "pocket-avatar", "longlive-1.3b"), strict=True
    ):
        studio.renders.start(name, TAKE.model_copy(update={"model": model}))
        await until(lambda n=name: (studio.renders.state(n) or {})["state"] == "failed")
    assert [c.rpartition(" ")[2] for c in commands] == ["onnx:int8", "torch", "auto"]
    studio.thread.close()


def test_a_second_render_of_the_same_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    job = Job(TAKE, tiny_model(), out)
    job.folder.mkdir()
    held = _alone(job.folder, out)
    with pytest.raises(RenderError, match=r"a\.mp4: another render is writing it"):
        job.run(go_on=False)
    held.close()
    job.run(go_on=False)
    assert out.exists()
