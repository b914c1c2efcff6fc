"""Kill a server and its renders twenty times while videos are ordered and drawn, in minutes (`pytest -m long`)."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image
from render_children import is_alive, renders_of
from studio_server import ROOT, serving

from streaming.background_renders import MOST_TRIES
from streaming.take import journal

KILLS = 20
AT_ONCE = 3  # videos that wait or are drawn
ENGINE = "torch:fp32"
LOOK_SECONDS = 0.3  # between two looks at processes and the table
SCENES = ("a red ball bounces over the meadow by day", "a blue fish drifts over the sea at night")


@dataclass
class Ordered:
    """Know of one video what the client was told, and what is seen of it on the disk."""

    name: str
    folder: Path
    prompt: str
    kind: str
    deleted: bool = False

    @property
    def film(self) -> Path:
        return self.folder / "videos" / f"{self.name}.mp4"

    @property
    def journal(self) -> Path:
        return self.film.with_suffix(".render") / "journal.jsonl"

    def drawn(self) -> int:
        """Count the chunks in the text of a journal that is being written."""
        try:
            return self.journal.read_bytes().count(b'"type":"chunk"')
        except FileNotFoundError:
            return 0

    def whole(self, chunks: int) -> bool:
        """Return whether the film of so many chunks has appeared; an extension has that of its source before."""
        partial = self.film.with_name(f"{self.name}.partial.mp4")
        return self.drawn() >= chunks and self.film.exists() and not partial.exists()

    def begun(self) -> int:
        """Return a number that changes when a process goes on with the film: it replaces the journal."""
        try:
            return self.journal.stat().st_ino
        except FileNotFoundError:
            return 0


@dataclass
class Cut:
    """Time how long a video that a kill cut off stands still."""

    video: Ordered
    victim: str
    at: float
    inode: int


@dataclass
class Story:
    """Order videos, kill, and note what was promised to the client."""

    folder: Path
    rng: random.Random
    videos: list[Ordered] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)  # prompts of orders without an answer, and their kinds
    cuts: list[Cut] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    address: str = ""
    server: int = 0
    count: int = 0  # of prompts
    ordering: threading.Thread | None = None
    looked: float = 0  # when that was last

    # -- what a client does ------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        got = httpx.request(method, f"{self.address}/v1/videos{path}", timeout=60, **more)
        assert got.status_code == 200, got.text
        told: dict[str, Any] = got.json()
        return told

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "?limit=100&order=asc")["data"]
        return found

    def status(self) -> dict[str, str]:
        return {video["id"]: video["status"] for video in self.listed()}

    def new_order(self) -> tuple[str, dict[str, Any], str, str]:
        """Return where to send what, the prompt, which no other video has, and the kind of the order."""
        self.count += 1
        prompt = f"{SCENES[self.count % 2]}, number {self.count}"
        status = self.status()
        done = [video for video in self.videos if status.get(video.name) == "completed"]
        seconds = str(self.rng.randint(6, 30))
        kind = self.rng.choice(["plain", "plain", "picture", "remix", "extension"])
        if kind == "remix" and done:
            return f"/{self.rng.choice(done).name}/remix", {"json": {"prompt": prompt}}, prompt, kind
        if kind == "extension" and done:
            source = {"id": self.rng.choice(done).name}
            return "/extensions", {"json": {"prompt": prompt, "seconds": "6", "video": source}}, prompt, kind
        fields = {"prompt": prompt, "seconds": seconds, "size": "64x64", "seed": str(self.rng.randrange(10**6))}
        if kind != "picture":
            return "", {"json": fields}, prompt, "plain"
        out = io.BytesIO()
        Image.new("RGB", (80, 60), tuple(self.rng.randrange(256) for _ in range(3))).save(out, "PNG")
        parts = {name: (None, value) for name, value in fields.items()}
        return "", {"files": {**parts, "input_reference": ("a.png", out.getvalue())}}, prompt, kind

    def order(self) -> None:
        path, sent, prompt, kind = self.new_order()
        told = self.ask("POST", path, **sent)
        self.videos.append(Ordered(told["id"], self.folder, prompt, kind))

    def order_into_a_kill(self, path: str, sent: dict[str, Any], prompt: str, kind: str) -> None:
        """Send an order whose answer may never come."""
        self.unanswered[prompt] = kind
        try:
            got = httpx.request("POST", f"{self.address}/v1/videos{path}", timeout=60, **sent)
        except httpx.TransportError:
            return
        assert got.status_code == 200, got.text
        self.videos.append(Ordered(got.json()["id"], self.folder, prompt, self.unanswered.pop(prompt)))

    def keep_busy(self) -> None:
        """Order videos until enough wait; delete one now and then, whatever its state."""
        self.adopt()
        for _ in range(20):
            if sum(status in ("queued", "in_progress") for status in self.status().values()) >= AT_ONCE:
                break
            self.order()
        kept = [video for video in self.videos if not video.deleted]
        if len(kept) > 6 and self.rng.random() < 0.2:
            video = self.rng.choice(kept)
            self.ask("DELETE", f"/{video.name}")
            video.deleted = True

    def adopt(self) -> None:
        """Learn of videos whose orders were stored, although their answers were lost."""
        for told in self.listed():
            if told["prompt"] in self.unanswered:
                kind = self.unanswered.pop(told["prompt"])
                self.videos.append(Ordered(told["id"], self.folder, told["prompt"], kind))

    # -- what must always hold -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that every video that was promised is there once, and none that was deleted."""
        told = self.listed()
        assert len({video["prompt"] for video in told}) == len(told)
        assert {video["id"] for video in told} == {video.name for video in self.videos if not video.deleted}
        assert [video for video in told if video["status"] == "failed"] == []

    def observe(self) -> None:
        """Note which of the cut videos have gone on; at no time are two films drawn."""
        if time.monotonic() < self.looked + LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        assert len(renders_of(self.server)) <= 1
        for cut in list(self.cuts):
            if cut.video.deleted or cut.video.begun() not in (0, cut.inode) or not self.unfinished(cut.video):
                self.cuts.remove(cut)
                if not cut.video.deleted:
                    self.waits.setdefault(cut.victim, []).append(time.monotonic() - cut.at)
                    print(f"  {cut.video.name[:12]} went on {self.waits[cut.victim][-1]:.1f} s after that", flush=True)

    def unfinished(self, video: Ordered) -> bool:
        return self.state(video)[0] == "asked"

    def until(self, what: Callable[[], bool], seconds: float = 600, every: float = 0.02) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end
            self.observe()
            time.sleep(every)

    def pass_time(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def state(self, video: Ordered) -> tuple[str, int, int, int]:
        """Return (state, chunks in all, chunks when its process was last started, tries) as the table has them."""
        connection = sqlite3.connect(f"file:{self.folder / 'jobs.sqlite'}?mode=ro", uri=True, timeout=30)
        try:
            found = connection.execute("select state, chunks, begun_at, tries from job where name = ?", (video.name,))
            row: tuple[str, int, int, int] = found.fetchone()
            return row
        finally:
            connection.close()

    def database_is_whole(self, number: int) -> None:
        """Check a copy of the database as the kill left it, so that the next server recovers the original itself."""
        copy = self.folder / "copies" / str(number)
        copy.mkdir(parents=True)
        for path in self.folder.glob("jobs.sqlite*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, copy / path.name)
        connection = sqlite3.connect(copy / "jobs.sqlite")
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        names = {name for (name,) in connection.execute("select name from job").fetchall()}
        assert {video.name for video in self.videos if not video.deleted} <= names
        assert not names & {video.name for video in self.videos if video.deleted}
        connection.close()

    # -- the kills ---------------------------------------------------------------------------------------------------

    def under_way(self) -> tuple[Ordered, psutil.Process]:
        """Wait for a render, and return its video and its process."""
        found: list[tuple[Ordered, psutil.Process]] = []

        def seen() -> bool:
            for process in renders_of(self.server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    words = process.cmdline()
                    found.extend((video, process) for video in self.videos if str(video.film) in words)
            return bool(found)

        self.until(seen, every=LOOK_SECONDS)
        return found[0]

    def moment(self, victim: str) -> tuple[str, Ordered, psutil.Process]:
        """Wait for a moment at which to kill; return it with the video and the process that are under way then."""
        video, process = self.under_way()
        _, chunks, begun, tries = self.state(video)
        kinds = ["drawing", "drawing", "end"] + (["start", "order"] if victim == "server" else [])
        kind = self.rng.choice(kinds) if tries < MOST_TRIES else "drawing"  # else it is given up, as it should be
        if kind == "start":
            self.pass_time(self.rng.uniform(0, 6))
        elif kind == "order":
            self.ordering = threading.Thread(target=self.order_into_a_kill, args=self.new_order())
            self.ordering.start()
            time.sleep(self.rng.uniform(0, 0.08))
        else:
            goal = max(begun, video.drawn()) + self.rng.randint(1, 12) if kind == "drawing" else 10**9
            self.until(lambda: video.drawn() >= goal or video.whole(chunks) or not is_alive(process))
            time.sleep(self.rng.uniform(0, 0.1))
        return kind, video, process

    def kill(self, number: int, victim: str, server: subprocess.Popen[bytes]) -> None:
        kind, video, process = self.moment(victim)
        while victim == "renderer" and not is_alive(process):  # its film is whole, and it has ended
            self.keep_busy()
            kind, video, process = self.moment(victim)
        drawn, inode, now = video.drawn(), video.begun(), time.monotonic()
        children = renders_of(self.server)
        if victim == "server":
            server.kill()
            server.wait()
            _, alive = psutil.wait_procs(children, timeout=10)
            assert alive == [], "a render outlived its server"
        else:
            process.kill()
        if self.ordering is not None:
            self.ordering.join()
            self.ordering = None
        print(f"kill {number}: {victim}, {kind}, {video.name[:12]} with {drawn} chunks drawn", flush=True)
        self.cuts.append(Cut(video, victim, now, inode))


def kill_while_opening(folder: Path, after: float) -> None:
    """Start a server and kill it so many seconds later, before it is ready."""

    def kill() -> None:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "serve" in child.cmdline():
                    child.kill()

    timer = threading.Timer(after, kill)
    timer.start()
    try:
        with serving(folder, "--engine", ENGINE) as (_, process):
            process.wait()
    except RuntimeError:  # it ended before it was ready
        pass
    timer.join()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_videos_outlive_twenty_kills_of_server_and_render_each_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill server and render in turns, at moments of a seed; each film equals one that is rendered undisturbed.

    The moments are: while the render starts or draws, when its film has just appeared, while an order is on its way,
    and while the next server starts.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed = int(os.environ.get("LONGTAKE_KILL_SEED", "0"))
    story = Story(tmp_path, random.Random(seed))
    kills, openings = 0, []
    while kills < KILLS:
        began = time.monotonic()
        with serving(tmp_path, "--engine", ENGINE) as (address, server):
            openings.append(time.monotonic() - began)
            story.address, story.server = address, server.pid
            story.keep_busy()
            story.check()
            for victim in ("renderer", "server"):
                kills += 1
                story.kill(kills, victim, server)
                if victim == "renderer":
                    story.keep_busy()
        story.database_is_whole(kills)
        if kills < KILLS and story.rng.random() < 0.3:
            kill_while_opening(tmp_path, after := story.rng.uniform(0.1, 0.9) * min(openings))
            kills += 1
            print(f"kill {kills}: server, {after:.1f} s after its start", flush=True)
            story.database_is_whole(kills)
    with serving(tmp_path, "--engine", ENGINE) as (address, server):
        story.address, story.server = address, server.pid
        story.adopt()
        story.until(lambda: not {"queued", "in_progress"} & set(story.status().values()), 1200, every=1)
        story.until(lambda: not story.cuts)
        story.check()
        kept = [video for video in story.videos if not video.deleted]
        sent = {v.name: httpx.get(f"{address}/v1/videos/{v.name}/content", timeout=60).content for v in kept}
    story.database_is_whole(kills + 1)
    for victim, waits in story.waits.items():
        print(f"{victim} killed: gone on after {statistics.median(waits):.1f} s (median of {len(waits)}), "
              f"{min(waits):.1f} to {max(waits):.1f}")  # fmt: skip
    orders = {kind: sum(v.kind == kind for v in kept) for kind in ("plain", "picture", "remix", "extension")}
    print(f"seed {seed}: {kills} kills, {len(kept)} videos kept {orders}, {len(story.videos) - len(kept)} deleted")
    assert kills >= KILLS
    files = {path.name.partition(".")[0] for path in (tmp_path / "videos").iterdir()}
    assert files == {video.name for video in kept}
    takes = [str(video.film.with_suffix(".yaml")) for video in kept]
    farm = [sys.executable, "-m", "app.cli", "farm", *takes, "-o", str(tmp_path / "alone"), "--engine", ENGINE]
    (tmp_path / "alone").mkdir()
    subprocess.run([*farm, "--workers", "2"], check=True, cwd=ROOT, capture_output=True)
    for video in kept:
        assert sent[video.name] == (tmp_path / "alone" / video.film.name).read_bytes(), video.prompt
        lines = [line for line in journal.read(video.journal) if line.type == "chunk"]
        firsts = [line.first for line in lines]
        assert firsts == sorted(set(firsts)), "a chunk was drawn twice"
