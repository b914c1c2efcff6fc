"""Have the threads of a server share few heaps of the C library."""

from __future__ import annotations

import ctypes

HEAPS = 2
_M_ARENA_MAX = -8  # glibc, malloc.h


def share_heaps() -> bool:
    """Limit the heaps (arenas) of glibc's malloc to HEAPS; return whether the C library obeyed.

    glibc gives each thread a heap, up to eight for each core, and what one thread frees is not used by another. Frames
    and tensors are made in one thread and dropped in others: after three minutes of one session with prompts and new
    connections, memory without snapshots had grown by 19 MB with eleven heaps and by 4 MB with two. Call it before
    threads begin. Other C libraries have no such heaps, and the call does nothing.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS))
    except (AttributeError, OSError, TypeError):  # another C library, or another way to find it
        return False
