"""Read and check the options of `longtake serve` for several workers."""

from __future__ import annotations

import re
from importlib.util import find_spec

from app.commands import CommandError

_ADDRESS = re.compile(r"auto|local|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


def numbers_of(address: str | None, workers: str | None, spare: int | None, osc: str | None) -> tuple[int, int, int]:
    """Return how many workers there may be, at least and at most, and how many of them are to be free.

    CommandError if Ray is not installed, if an option is no such number or address, or if they cannot be used together.
    """
    found = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", "1..8" if workers is None else workers)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise CommandError(f"--workers {(workers or '')[:20]}: is no number such as 2, and no range such as 1..8")
    if address is None:
        if workers is not None or spare is not None:
            raise CommandError("--workers and --spare are for sessions in a Ray cluster: give its address as --ray")
        return least, most, 0
    if find_spec("ray") is None:
        raise CommandError("--ray: Ray is not installed; pip install 'longtake[cluster]'")
    if not _ADDRESS.fullmatch(address):
        raise CommandError(f"--ray {address[:60]}: is no address such as 10.0.0.7:6379, auto or local")
    if osc is not None:
        raise CommandError("--osc obeys sessions of this process, and with --ray there are none; leave one of them out")
    return least, most, 1 if spare is None else spare
