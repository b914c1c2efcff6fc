"""Test that a killed server loses no take, and that renders can be cancelled and resumed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx
import torch
from studio_server import serving

from models import catalog
from models.checkpoints.assemble import ASSETS, load
from models.time_grid import TimeGrid
from streaming.rollout import Rollout
from streaming.take import journal
from streaming.take.take_file import parse


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
        model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
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
