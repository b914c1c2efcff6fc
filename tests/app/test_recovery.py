"""Test that a killed server loses no take, and that renders can be cancelled and resumed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
import pytest
from studio_server import serving

from app.loaded_model import load_model
from models import catalog
from models.time_grid import TimeGrid
from streaming.job_table import JobTable
from streaming.rollout import Rollout
from streaming.take import journal
from streaming.take.history import TakeFiles, TakeHistory, new_id
from streaming.take.take_file import CueLine, Take, parse


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def frames(film: bytes) -> int:
    with av.open(io.BytesIO(film)) as container:
        return sum(1 for _ in container.decode(video=0))


def obey(url: str, session: dict[str, Any], number: int, **command: Any) -> None:
    headers = {"x-longtake-key": session["key"]}
    done = httpx.post(f"{url}/control", headers=headers, json={"id": number, **command})
    assert done.status_code == 202, done.text


def hashes(data: Path, take: str) -> dict[int, str]:
    lines = journal.read(data / "takes" / f"{take}.jsonl")
    return {x.first: x.hash for x in lines if x.type == "chunk"}


def test_after_a_kill_takes_are_listed_downloaded_rendered_and_continued(tmp_path: Path) -> None:
    with serving(tmp_path, grace=240) as (address, process):
        new = {"prompt": "a large red ball bounces over the meadow by day", "seed": 5}
        session = httpx.post(f"{address}/api/sessions", json=new).json()
        url, take = f"{address}/api/sessions/{session['id']}", session["take"]
        until(lambda: httpx.get(url).json()["latent"] >= 3)
        obey(url, session, 1, type="record")
        until(lambda: (httpx.get(url).json()["recorded_s"] or 0) > 1)
        obey(url, session, 2, type="prompt", text="a large blue fish drifts over the sea at night")
        until(lambda: httpx.get(url).json()["latent"] >= 15)
        growing = httpx.get(f"{address}/api/takes/{take}/recordings/1")
        assert frames(growing.content) >= 12
        recorded = httpx.get(url).json()["recorded_s"]
        process.kill()
        process.wait()
    played = hashes(tmp_path, take)
    with serving(tmp_path) as (address, _):
        (listed,) = httpx.get(f"{address}/api/takes").json()
        assert (listed["id"], listed["state"], listed["recordings"]) == (take, "cut off", [1])
        assert listed["prompts"][-1].startswith("a large blue fish")
        film = httpx.get(f"{address}/api/takes/{take}/recordings/1").content
        assert frames(film) / 16 >= recorded - 0.3  # at most one fragment is lost
        script = parse(httpx.get(f"{address}/api/takes/{take}").text, "take.yaml")
        model = load_model(catalog.POCKET, "cpu")
        assert {b.first: b.hash for b in Rollout(model, script).until(script.chunks(TimeGrid(3, 3), 16))} == played

        assert httpx.get(f"{address}/api/takes/{take}/film").status_code == 404
        assert httpx.post(f"{address}/api/takes/{take}/render").status_code == 202
        until(lambda: httpx.get(f"{address}/api/takes/{take}/render").json()["state"] == "done")
        film = httpx.get(f"{address}/api/takes/{take}/film").content
        assert frames(film) == 4 * 3 * len(played) - 3

        session = httpx.post(f"{address}/api/takes/{take}/continue", json={}).json()
        url = f"{address}/api/sessions/{session['id']}"
        until(lambda: httpx.get(url).json()["latent"] > 3 * len(played))
        timeline = httpx.get(url).json()["timeline"]
        assert timeline["parent"] == f"{take}@{3 * len(played)}"
        assert [c["prompt"] for c in timeline["cues"]] == listed["prompts"]
        httpx.delete(url, headers={"x-longtake-key": session["key"]})
        again = hashes(tmp_path, session["take"])
        assert {k: again[k] for k in played} == played


def test_a_cancelled_render_resumes_and_a_second_request_starts_no_second_render(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, _):
        session = httpx.post(f"{address}/api/sessions", json={"prompt": "a large red ball bounces by day"}).json()
        url, take = f"{address}/api/sessions/{session['id']}", f"{address}/api/takes/{session['take']}"
        until(lambda: httpx.get(url).json()["latent"] >= 33)
        httpx.delete(url, headers={"x-longtake-key": session["key"]})
        assert httpx.get(f"{take}/render").status_code == 404
        httpx.post(f"{take}/render")
        until(lambda: httpx.get(f"{take}/render").json()["done"] >= 2)
        assert httpx.post(f"{take}/render").json()["state"] == "rendering"  # the second request starts nothing
        assert httpx.delete(f"{take}/render").status_code == 204
        until(lambda: httpx.get(f"{take}/render").json()["state"] == "cancelled")
        assert httpx.delete(f"{take}/render").status_code == 404
        httpx.post(f"{take}/render")
        until(lambda: httpx.get(f"{take}/render").json()["state"] == "done")
        state = httpx.get(f"{take}/render").json()
        assert state["done"] == state["chunks"] >= 11
        assert frames(httpx.get(f"{take}/film").content) == 12 * state["chunks"] - 3


def told_take(data: Path, chunks: int) -> str:
    """Write the journal of a take that was seen once, without drawing it; return the take's id."""
    (data / "takes").mkdir()
    take = Take(
        model="pocket", seed=3, size="64x64", cues=[CueLine(prompt="a large red ball bounces by day", landed=0)]
    )
    hashes = {3 * n: "0" * 16 for n in range(chunks)}
    history = TakeHistory(new_id(), take, landed=list(take.cues), hashes=hashes, length=3 * chunks)
    files = TakeFiles(data / "takes", {})
    files.begin(history)
    files.end(history)
    files.close()
    return history.id


@pytest.mark.long
@pytest.mark.timeout(900)
def test_renders_are_taken_up_by_the_server_after_one_that_was_killed(tmp_path: Path) -> None:
    """Kill servers with SIGKILL while a render is under way, cancelled and done; each time the next one knows."""
    take, chunks = told_take(tmp_path, 40), 40

    def progress(address: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{address}/api/takes/{take}/render").json()
        return found

    @contextmanager
    def killed() -> Iterator[str]:
        """Serve until the end of the block, and then kill the server; its render must end with it."""
        with serving(tmp_path) as (address, process):
            yield address
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive

    with killed() as address:
        assert httpx.post(f"{address}/api/takes/{take}/render").status_code == 202
        until(lambda: progress(address)["done"] >= 11, 240)
        print("first server, killed at", progress(address))
    with killed() as address:
        print("second server, at its start", first := progress(address))
        assert first["state"] in ("waiting", "rendering")
        assert (first["chunks"], first["done"] >= 10) == (chunks, True)
        assert httpx.post(f"{address}/api/takes/{take}/render").json()["state"] in ("waiting", "rendering")
        until(lambda: progress(address)["done"] >= 21, 240)
        print("second server, killed at", progress(address))
    with killed() as address:
        assert httpx.delete(f"{address}/api/takes/{take}/render").status_code == 204
        until(lambda: progress(address)["state"] == "cancelled")
        until(lambda: [job.state for job in JobTable(tmp_path / "jobs.sqlite").read()] == ["cancelled"])
        print("third server, cancelled and killed at", progress(address))
    with killed() as address:
        print("fourth server, at its start", first := progress(address))
        assert (first["state"], first["done"] >= 20, first["film"]) == ("cancelled", True, False)
        assert httpx.post(f"{address}/api/takes/{take}/render").status_code == 202
        until(lambda: progress(address)["state"] == "done", 240)
        assert frames(httpx.get(f"{address}/api/takes/{take}/film").content) == 12 * chunks - 3
        print("fourth server, killed at", progress(address))
    with serving(tmp_path) as (address, _):
        print("fifth server, at its start", first := progress(address))
        assert first == {"state": "done", "film": True, "chunks": chunks, "done": chunks, "why": ""}
