"""Run the command line in a process that ends with the server that started it, however the server ends.

The server holds the other end of standard input, which therefore closes when the server ends. On Linux the kernel also
sends a signal, which ends even a stopped process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """End this process when the process that started it has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    end_with_parent()
    from app.cli import main

    main()
