"""Threads of a server share few heaps, so that one thread uses again what another has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HEAPS_OF_TWENTY_THREADS = """
import re, threading
from app.shared_heaps import share_heaps
assert {limited} is False or share_heaps()
together = threading.Barrier(20)
def work():
    kept = [bytearray(1000 + n) for n in range(200)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
begins = [int(line.split("-")[0], 16) for line in open("/proc/self/maps") if " rw-p 00000000 00:00 0" in line]
print(sum(begin % (64 << 20) == 0 for begin in begins))  # a heap of a thread begins at a multiple of 64 MB
"""


def heaps(*, limited: bool) -> int:
    program = HEAPS_OF_TWENTY_THREADS.format(limited=limited)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_twenty_threads_share_two_heaps_and_had_more_before() -> None:
    assert heaps(limited=True) <= 2 < heaps(limited=False)
