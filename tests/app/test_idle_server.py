"""An idle server rests, so that all of the processor is there for what is drawn."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from studio_server import serving

SECONDS = 3.0
WAKES_A_SECOND = 300  # of its event loop; Gradio alone wakes it 2,000 times


def test_an_idle_server_sleeps_most_of_the_time(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, process):
        server = psutil.Process(process.pid)
        time.sleep(2)  # what is warmed up after the start
        before = server.num_ctx_switches().voluntary
        time.sleep(SECONDS)
        wakes = (server.num_ctx_switches().voluntary - before) / SECONDS
        print(f"wakes a second: {wakes:.0f}, {server.cpu_percent(SECONDS):.1f} % of a core")
        assert wakes < WAKES_A_SECOND
