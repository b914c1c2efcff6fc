"""Keep the newest snapshots of a running take on disk, so that another process can go on with it from there.

A checkpoint is named after its latent and the hash of the chunk before it, so that one of a branch that the take has
left is never taken for its own. Several are kept: a kill may leave the newest one damaged or ahead of the journal, and
what was drawn ahead of the viewers is drawn again for them.
"""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import torch

from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.checkpoints.synced_files import remove
from models.checkpoints.weight_files import CheckpointError
from models.snapshots import Snapshot
from models.time_grid import frames_before
from streaming.live.clock import Clock
from streaming.take.history import TakeHistory

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds between checkpoints, of which a take's way back to its newest latent is made
KEPT = 4
_NAME = re.compile(r"(\d+)-([0-9a-f]{16})\.safetensors")


class Checkpoints:
    """Write a take's checkpoints into a folder of its session, one at a time and off the event loop."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Prepare to write into `folder`, which is made with the first checkpoint."""
        self._folder, self._clock = folder, clock
        self._next = clock() + EVERY
        self._saving: asyncio.Task[None] | None = None

    def due(self) -> bool:
        """Return whether a checkpoint should be written now."""
        return self._clock() >= self._next and (self._saving is None or self._saving.done())

    def keep(self, snapshot: Snapshot, digest: str) -> None:
        """Write a snapshot of a boundary; `digest` is the hash of the chunk before it. Returns at once."""
        self._next = self._clock() + EVERY
        self._saving = asyncio.ensure_future(asyncio.to_thread(self._write, snapshot, digest))

    async def close(self) -> None:
        """Wait until what is being written is on the disk."""
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)

    def _write(self, snapshot: Snapshot, digest: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            before = sorted(_found(self._folder), key=lambda path: path.stat().st_mtime_ns)
            save_snapshot(snapshot, self._folder / f"{snapshot.index}-{digest}.safetensors")
            for path in before[: max(0, len(before) + 1 - KEPT)]:
                remove(path)
        except OSError as e:  # the take goes on; another process will have to draw more of it anew
            log.warning("no checkpoint could be written (%s)", e.strerror)


def newest_checkpoint(
    folder: Path, past: TakeHistory, device: torch.device, dtype: torch.dtype, shown: int | None = None
) -> Snapshot | None:
    """Return the last snapshot in a session's folder that lies on the way of `past`; None if there is none.

    With `shown` it is the last one before that frame, so that what follows it can be shown, if there is one.
    """
    ends = dict(zip([*list(past.hashes)[1:], past.length], past.hashes.values(), strict=False))
    found = {int(m[1]): path for path in _found(folder) if (m := _NAME.fullmatch(path.name)) and _fits(m, ends)}
    late = [latent for latent in found if shown is not None and frames_before(latent) > shown]
    early = [latent for latent in found if latent not in late]
    for latent in (*sorted(early, reverse=True), *sorted(late)):
        try:
            return load_snapshot(found[latent], device, dtype)
        except CheckpointError as e:
            log.warning("%s", e)
    return None


def _fits(name: re.Match[str], ends: dict[int, str]) -> bool:
    return ends.get(int(name[1])) == name[2]


def _found(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.safetensors") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
