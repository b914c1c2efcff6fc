"""Kill the render command with SIGKILL, and measure its start and its chunks, in minutes (`pytest -m long`)."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import frame_hash

from models.checkpoints.assemble import ASSETS
from streaming.speech.fullband import RATE, quantised
from streaming.speech.soundtrack import header
from streaming.take import journal

ROOT = ASSETS.parent
EXAMPLE = ASSETS / "takes" / "example.yaml"


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "render", str(EXAMPLE), "-o", str(out), *more]


def record(out: Path) -> list[dict[str, object]]:
    lines = journal.read(out.with_suffix(".render") / "journal.jsonl")
    return [line.model_dump(exclude={"seconds"}) for line in lines]


def chunks(out: Path) -> int:
    return sum(line.get("type") == "chunk" for line in record(out))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_render_that_was_killed_at_ten_random_moments_gives_the_same_file(tmp_path: Path) -> None:
    first, second, killed = (tmp_path / f"{n}.mp4" for n in ("first", "second", "killed"))
    subprocess.run(command(first), check=True, cwd=ROOT, capture_output=True)
    subprocess.run(command(second), check=True, cwd=ROOT, capture_output=True)
    assert first.read_bytes() == second.read_bytes()
    rng = random.Random(int(os.environ.get("LONGTAKE_KILL_SEED", "0")))
    for kill in range(10):
        before = chunks(killed)
        process = subprocess.Popen(
            command(killed, "--resume"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if kill % 3 == 0:  # at any time, during the start too
            time.sleep(rng.uniform(0.2, 8))
        else:  # after enough chunks for a checkpoint
            goal = before + rng.randint(1, 7)
            while chunks(killed) != goal and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.15))
        assert process.poll() is None, "the render ended before it was killed; set another LONGTAKE_KILL_SEED"
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {kill + 1}: {chunks(killed)} chunks in the journal")
        assert not killed.exists()
    subprocess.run(command(killed, "--resume"), check=True, cwd=ROOT, capture_output=True)
    assert frame_hash(killed) == frame_hash(first)
    assert killed.read_bytes() == first.read_bytes()
    assert record(killed) == record(first)


SIX_SECONDS = (
    "seed: 3\nlength: 6s\ncues:\n  - prompt: a large red ball bounces over the meadow by day\n"
    "  - at: 3s\n    prompt: a large blue fish drifts over the sea at night\n"
)
KILLS = {  # the command, how often it is killed, and how many chunks the film has
    "render": (["render", "TAKE"], 8, 8),
    "extend": (["render", "TAKE", "--extend", "4s"], 8, 14),
    "from": (["render", "TAKE", "--from", "4s"], 7, 8),
    "avatar": (["avatar", "--audio", "SOUND"], 7, 9),
}


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", KILLS)
def test_a_command_that_is_killed_again_and_again_makes_the_same_film(name: str, tmp_path: Path) -> None:
    """Send SIGKILL at random moments, start-up included; then run the same command, or --resume, to the end."""
    arguments, kills, chunks = KILLS[name]
    take, sound = tmp_path / "take.yaml", tmp_path / "sound.wav"
    take.write_text(SIX_SECONDS)
    hum = 0.3 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 150 / RATE) * (np.arange(4 * RATE) // 12_000 % 2)
    samples = quantised(hum.astype(np.float32))
    sound.write_bytes(header(len(samples)) + samples.tobytes())
    words = [{"TAKE": str(take), "SOUND": str(sound)}.get(word, word) for word in arguments]
    rng = random.Random(f"{name} {os.environ.get('LONGTAKE_KILL_SEED', '0')}")

    def program(out: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "app.cli", *words, "-o", str(out), *more]

    def drawn(out: Path) -> int:
        """Count the chunks in the text of a journal that is being written."""
        for path in (out.with_suffix(".render"), out.with_suffix(".silent.render")):
            if (path / "journal.jsonl").exists():
                return (path / "journal.jsonl").read_bytes().count(b'"type":"chunk"')
        return 0

    whole, killed = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    for out in (whole, killed):
        if name in ("extend", "from"):
            plain = [sys.executable, "-m", "app.cli", "render", str(take), "-o", str(out)]
            subprocess.run(plain, check=True, cwd=ROOT, capture_output=True)
    began = time.monotonic()
    subprocess.run(program(whole), check=True, cwd=ROOT, capture_output=True)
    typical = time.monotonic() - began
    for kill in range(kills):
        resumes = kill > 0 and (name in ("render", "avatar") or kill % 2 == 1)
        process = subprocess.Popen(
            program(killed, *(["--resume"] if resumes else [])),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if kill % 3 == 2:  # anywhere before the first chunk
            time.sleep(rng.uniform(0.1, 0.5) * typical)
        else:
            more, seen, begun = rng.randint(1, 6), drawn(killed), False  # begun: the journal is that of this run
            while process.poll() is None and more and not (begun and seen >= chunks - 1):
                time.sleep(0.003)
                seen, before = drawn(killed), seen
                more -= seen > before
                begun = begun or seen != before
        time.sleep(rng.uniform(0, 0.1))
        ended = process.poll() is not None
        process.kill()
        process.wait()
        print(f"{name}: kill {kill + 1}, {drawn(killed)} chunks in the journal, ended by itself: {ended}", flush=True)
        if ended:
            break
    else:
        last = program(killed, "--resume") if name in ("render", "avatar") else program(killed)
        subprocess.run(last, check=True, cwd=ROOT, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()
    left = {path.name.replace("killed", "whole") for path in tmp_path.glob("killed*")}
    assert left == {path.name for path in tmp_path.glob("whole*")}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_first_frame_comes_within_six_seconds_of_the_command(tmp_path: Path) -> None:
    waits = []
    for i in range(6):
        out = tmp_path / f"{i}.mp4"
        began = time.monotonic()
        process = subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(line.get("type") == "chunk" for line in record(out)):
            time.sleep(0.01)
        waits.append(time.monotonic() - began)
        process.kill()
        process.wait()
    print("command to first frame, s:", [round(w, 2) for w in waits[1:]])
    assert statistics.median(waits[1:]) <= 6  # the first run fills the cache of the disk


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_chunk_2000_takes_as_long_as_chunk_100_and_memory_is_flat() -> None:
    """Draw a quarter of the usual pixels, so that 2000 chunks take minutes: only the number of chunks matters here."""
    import psutil
    import torch

    from models import catalog
    from models.checkpoints.assemble import load
    from streaming.rollout import Rollout
    from streaming.take.take_file import load as load_take

    model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
    take = load_take(EXAMPLE).model_copy(update={"size": "128x128"})
    early, late = (Rollout(model, take) for _ in range(2))
    memory = []
    for i in range(2000):
        late.step()
        late.settle()
        if i % 200 == 199:
            memory.append(psutil.Process().memory_info().rss / 1e6)
    for _ in range(100):
        early.step()
        early.settle()
    # in turns, so that other work on the machine slows both
    times: dict[str, list[float]] = {"early": [], "late": []}
    pair = [("early", early), ("late", late)]
    for i in range(160):
        for name, rollout in pair if i % 2 else pair[::-1]:
            began = time.perf_counter()
            rollout.step()
            rollout.settle()
            times[name].append(time.perf_counter() - began)
    a, b = (statistics.median(times[n]) for n in ("early", "late"))
    print(f"chunk 100: {1000 * a:.2f} ms, chunk 2000: {1000 * b:.2f} ms, ratio {b / a:.4f}, RSS {memory} MB")
    assert 0.98 < b / a < 1.02
    assert memory[-1] - memory[1] < 20
