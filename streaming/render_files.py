"""Name, lock and tidy the files of a render, which lie beside its film."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.checkpoints.synced_files import remove, sync_folder
from models.errors import UserError

CHUNKS_PER_FRAGMENT = 5  # of a film, behind each of which there is a checkpoint
MOST_CHECKPOINTS, MOST_BYTES = 24, 64 << 20  # kept while a film is rendered
MOST_OF_FINISHED, BYTES_OF_FINISHED = 8, 32 << 20  # kept of a finished one, for --extend and --from
LEAST_CHECKPOINTS, LEAST_OF_FINISHED = 2, 1  # kept whatever they take: the newest of two may be damaged
LEFT_BY_KILLS = ("*.partial", ".tmp*")  # files that were being written, by this release and by earlier ones


class RenderError(UserError):
    """Report a render that cannot go on, in one line for a person."""


def end_latents(film: Path) -> Path:
    """Return the path of the clean latents of the end of a film that was rendered."""
    return film.with_name(f"{film.stem}.render") / "end.safetensors"


class RenderFiles:
    """Know the files of the render to one film."""

    def __init__(self, out: Path) -> None:
        """Name what belongs to the film `out`; nothing is touched."""
        self.out = out
        self.partial = out.with_name(f"{out.stem}.partial.mp4")  # the film as far as it is
        self.folder = out.with_name(f"{out.stem}.render")
        self.silent = self.folder / "silent.mp4"  # the film without the sound that was added to it
        self.journal = self.folder / "journal.jsonl"
        self.latents = end_latents(out)
        self.take = out.with_name(f"{out.stem}.take.yaml")  # what the film was rendered from

    @property
    def film(self) -> Path:
        """Return the path of the film as it was rendered, without any sound: partial, silent or finished."""
        return next((path for path in (self.partial, self.silent) if path.exists()), self.out)

    def checkpoint(self, latent: int) -> Path:
        """Return the path of the checkpoint of the render's boundary at `latent`."""
        return self.folder / f"checkpoint-{latent:07d}.safetensors"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints that there are, the oldest first."""
        return sorted(self.folder.glob("checkpoint-*.safetensors"))

    def said(self) -> str:
        """Say in one line what is kept beside a finished film; "" if that is nothing to speak of."""
        held = self.checkpoints()
        if not held:
            return ""
        megabytes = sum(path.stat().st_size for path in held) / 1e6
        return f"{len(held)} checkpoints, {megabytes:.0f} MB, are kept for --extend and --from in {self.folder}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the render for this process (POSIX); RenderError if another process does."""
        if sys.platform == "win32":
            yield
            return
        import fcntl

        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RenderError(f"{self.out}: another render is writing it; wait for it, or end it") from None
            yield

    def in_use(self) -> bool:
        """Return whether another process writes the render now (POSIX)."""
        if not self.folder.is_dir():
            return False
        try:
            with self.locked():
                return False
        except RenderError:
            return True

    def tidy(self, named: Sequence[int]) -> None:
        """Delete what killed writes left, and all checkpoints but those at the latents in `named`."""
        kept = {self.checkpoint(latent) for latent in named}
        left = [path for pattern in LEFT_BY_KILLS for path in self.folder.glob(pattern)]
        for path in [*left, *(p for p in self.checkpoints() if p not in kept)]:
            remove(path)

    def thin(self, *, finished: bool = False) -> None:
        """Delete checkpoints until the rest is within its budget: those that lie closest together, not the newest."""
        if finished:
            most, budget, least = MOST_OF_FINISHED, BYTES_OF_FINISHED, LEAST_OF_FINISHED
        else:
            most, budget, least = MOST_CHECKPOINTS, MOST_BYTES, LEAST_CHECKPOINTS
        held = {_latent(path): path for path in self.checkpoints()}
        sizes = {latent: path.stat().st_size for latent, path in held.items()}
        while len(held) > least and (len(held) > most or sum(sizes.values()) > budget):
            latents = [0, *held]
            gaps = {at: after - before for before, at, after in zip(latents, latents[1:], latents[2:], strict=False)}
            if not finished:
                gaps.pop(latents[-2])  # the last but one takes the place of a newest that is damaged
            gone = min(gaps, key=lambda at: gaps[at])
            remove(held.pop(gone))
            del sizes[gone]

    def discard(self) -> None:
        """Delete all, once the frames are in another film. The journal goes first, as it speaks of the rest."""
        remove(self.journal)
        if self.folder.is_dir():
            sync_folder(self.folder)
        self.tidy(())
        for path in (
            self.folder / "lock",
            self.folder / "said.wav",
            self.latents,
            self.silent,
            self.partial,
            self.out,
            self.take,
        ):
            remove(path)
        with contextlib.suppress(OSError):  # something of another kind lies in it, or it is not there
            self.folder.rmdir()


def _latent(checkpoint: Path) -> int:
    return int(checkpoint.stem.partition("-")[2])
