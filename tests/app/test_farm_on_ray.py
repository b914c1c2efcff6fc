"""Render a farm's films on a cluster of two Ray nodes, and kill renders, tasks and a node (`pytest -m long`)."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psutil
import pytest
from render_children import is_alive, renders_of
from studio_server import ROOT, free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[cluster]'"),
]
RANDOM = random.Random(int(os.environ.get("LONGTAKE_KILL_SEED", "0")))
CUES = "cues:\n  - prompt: a red ball bounces over the meadow by day\n"
CUTS = "".join(f"  - {{at: {at}, cut: true, prompt: a blue fish drifts over the sea at night}}\n" for at in (24, 51))
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",  # a busy machine
    "RAY_worker_niceness": "0",  # by default 15
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def started(command: list[str], said: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a farm, and kill it if the test ends before it does."""
    farming = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=said, stderr=said)
    try:
        yield farming
    finally:
        farming.kill()
        farming.wait()


@contextmanager
def cluster() -> Iterator[tuple[str, list[psutil.Process]]]:
    """Start two nodes of one core each on this machine; yield the cluster's address and the nodes' processes."""
    address = f"127.0.0.2:{free_port()}"  # Ray takes 127.0.0.1 for that of the first network interface
    folder = tempfile.mkdtemp(prefix="ray")  # a short name, as sockets lie in it
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    head = ["--head", f"--port={address.rpartition(':')[2]}", "--node-ip-address=127.0.0.2", f"--temp-dir={folder}"]
    nodes: list[psutil.Process] = []
    try:
        for more in ([*head, "--include-dashboard=false"], [f"--address={address}", "--node-ip-address=127.0.0.3"]):
            process = subprocess.Popen(
                [*ray, *more], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            nodes.append(psutil.Process(process.pid))
            until = time.monotonic() + 300
            while not raylets(nodes[-1]):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
        yield address, nodes
    finally:
        for node in nodes:
            for process in [*node.children(recursive=True), node] if is_alive(node) else []:
                process.kill()
        psutil.wait_procs(nodes, timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def raylets(node: psutil.Process) -> list[psutil.Process]:
    return [child for child in node.children(recursive=True) if child.name() == "raylet"]


def tasks(node: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a node that run a task now."""
    found = node.children(recursive=True) if is_alive(node) else []
    return [child for child in found if is_alive(child) and child.cmdline()[:1] == ["ray::_render"]]


def farm(takes: list[Path], out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "farm", *map(str, takes), "-o", str(out), "--split-at-cuts", *more]


def write_twelve(folder: Path) -> list[Path]:
    """Write takes of twenty chunks and of seeds from 1 on; the third has two cuts."""
    takes = [folder / f"{seed}.yaml" for seed in range(1, 13)]
    for seed, take in enumerate(takes, 1):
        take.write_text(f"size: 64x64\nseed: {seed}\nlength: 60\n{CUES}{CUTS if seed == 3 else ''}")
    return takes


def render_alone(takes: list[Path], folder: Path) -> float:
    """Render one take after the other, a process each; return the seconds that this took."""
    folder.mkdir()
    began = time.monotonic()
    for take in takes:
        command = [sys.executable, "-m", "app.cli", "render", str(take), "-o", str(folder / f"{take.stem}.mp4")]
        subprocess.run(command, check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    return time.monotonic() - began


def kill_thrice(victim: Path, out: Path, renders: Callable[[], list[psutil.Process]]) -> None:
    """Kill the render of a take three times, once it has drawn some more chunks; `renders` finds those that run."""
    journal, killed = out / f"{victim.stem}.render" / "journal.jsonl", set[int]()

    def drawn() -> int:
        return journal.read_bytes().count(b'"type":"chunk"') if journal.exists() else 0

    for first in (1, 7, 13):
        goal, until = first + RANDOM.randrange(6), time.monotonic() + 900
        while drawn() < goal or not (found := [r for r in renders() if r.pid not in killed]):
            assert time.monotonic() < until, "the farm renders this take no more"
            time.sleep(0.05)
        found[0].kill()
        assert not (out / f"{victim.stem}.mp4").exists(), "the film was whole before the kill"
        killed.add(found[0].pid)
        print(f"killed with {drawn()} chunks of 20 in the journal")


@pytest.mark.timeout(3600)
def test_twelve_films_on_two_nodes_equal_those_rendered_alone_though_one_is_killed_three_times(tmp_path: Path) -> None:
    """Kill the render of a take three times; the farm goes on with it, on either node."""
    takes, out, alone = write_twelve(tmp_path), tmp_path / "out", tmp_path / "alone"
    one = render_alone(takes, alone)
    with cluster() as (address, nodes), started(farm(takes, out, "--ray", address)) as farming:
        began = time.monotonic()
        victim = RANDOM.choice([take for take in takes[:-2] if "cut" not in take.read_text()])  # one is drawn in parts

        def renders() -> list[psutil.Process]:
            assert farming.poll() is None
            return [render for node in nodes for render in renders_of(node.pid, victim)]

        kill_thrice(victim, out, renders)
        assert farming.wait() == 0
        print(f"one after another {one:.0f} s, on two nodes with three kills {time.monotonic() - began:.0f} s")
    for take in takes:
        name = f"{take.stem}.mp4"
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name


@pytest.mark.timeout(3600)
def test_films_end_as_they_would_have_alone_though_renders_tasks_and_a_node_are_killed(tmp_path: Path) -> None:
    """Kill a render, then a task, then a node, stop the farm by SIGTERM, and run it again on what is left."""
    takes = [tmp_path / f"{seed}.yaml" for seed in (1, 2, 3)]
    for seed, take in enumerate(takes, 1):
        take.write_text(f"size: 64x64\nseed: {seed}\nlength: 96\n{CUES}{CUTS if seed == 3 else ''}")
    alone, out = tmp_path / "alone", tmp_path / "out"
    subprocess.run(farm(takes, alone, "--workers", "2"), check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    with cluster() as (address, nodes), ExitStack() as stack:
        command = farm(takes, out, "--ray", address)
        farming = stack.enter_context(started(command, stack.enter_context((tmp_path / "said").open("wb"))))

        def text() -> str:
            return (tmp_path / "said").read_text()

        def renders() -> list[psutil.Process]:
            return [render for node in nodes for render in renders_of(node.pid)]

        def wait_for_render(node: psutil.Process) -> psutil.Process:
            until = time.monotonic() + 600
            while not (found := renders_of(node.pid)):
                assert farming.poll() is None, text()
                assert time.monotonic() < until, text()
                time.sleep(0.1)
            time.sleep(4)  # at any moment
            return found[0]

        wait_for_render(nodes[0]).kill()
        render = wait_for_render(nodes[1])
        (task,) = tasks(nodes[1])
        task.kill()
        psutil.wait_procs([render], timeout=10)
        assert not is_alive(render), "a render outlived its task"
        lost = wait_for_render(nodes[1])
        for raylet in raylets(nodes[1]):
            raylet.kill()
        psutil.wait_procs([lost], timeout=30)
        assert not is_alive(lost), "a render outlived its node"
        wait_for_render(nodes[0])
        farming.send_signal(signal.SIGTERM)
        assert farming.wait(120) == 143, text()
        until = time.monotonic() + 10
        while renders():
            assert time.monotonic() < until, "a render outlived its farm"
            time.sleep(0.1)
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        print(text(), done.stdout, done.stderr)
    for take in takes:
        name = f"{take.stem}.mp4"
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    assert list(out.glob("*.parts")) == []


@pytest.mark.timeout(1200)
def test_a_cluster_that_is_not_there_or_has_no_such_device_is_refused_in_one_line(tmp_path: Path) -> None:
    take = tmp_path / "a.yaml"
    take.write_text(f"size: 64x64\nlength: 3\n{CUES}")

    def said(address: str, *more: str) -> str:
        command = farm([take], tmp_path / "out", "--ray", address, *more)
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return line

    assert "no cluster can be used there" in said(f"127.0.0.1:{free_port()}")
    with cluster() as (address, _):
        assert "the cluster has no GPU" in said(address, "--device", "cuda")
