"""Note beside a film of a farm what it was asked to be, so that the same command passes over it once it is finished.

The note `NAME.farm.json` is written before anything is drawn, and again with a hash of the film once that is whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.checkpoints.synced_files import write_whole
from streaming.take.footage import file_hash
from streaming.take.take_file import Take

ENDING = ".farm.json"


class FilmNote(BaseModel):
    """Hold what a film was asked to be: of which take, and made with which weights and options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    take: str  # hash of the take and of the files that it names
    made_with: dict[str, str]  # weights and options, by the word that a person reads
    film: str | None = None  # hash of the finished film

    def differences(self, now: FilmNote) -> str:
        """Say in a few words with which other weights or options the film is asked for now; "" if with the same."""
        names = sorted(self.made_with.keys() | now.made_with.keys())
        pairs = [(name, self.made_with.get(name, "none"), now.made_with.get(name, "none")) for name in names]
        return ", ".join(f"{name} {then} → {given}" for name, then, given in pairs if then != given)


def note_of(film: Path) -> Path:
    """Return the path of a film's note."""
    return film.with_name(film.stem + ENDING)


def read_note(film: Path) -> FilmNote | None:
    """Return the note of a film; None if there is none that can be read."""
    try:
        return FilmNote.model_validate_json(note_of(film).read_bytes())
    except (OSError, ValidationError):
        return None


def write_note(film: Path, note: FilmNote, *, finished: bool) -> None:
    """Write the note of a film that is about to be rendered, or is `finished`; OSError if the disk does not take it."""
    whole = note.model_copy(update={"film": file_hash(film) if finished else None})
    write_whole(note_of(film), whole.model_dump_json(exclude_none=True, indent=1).encode())


def is_finished(film: Path, now: FilmNote) -> bool:
    """Return whether the film that is there is finished, unchanged since, and the one that is asked for."""
    then = read_note(film)
    if then is None or then.film is None or then.take != now.take or then.differences(now):
        return False
    try:
        return file_hash(film) == then.film
    except OSError:
        return False


def take_hash(take: Take, folder: Path) -> str:
    """Return a hash of a take and of the files that it names, which lie in `folder`; missing ones count as such."""
    names = [*take.sounds, *take.portraits, *(name for cue in take.cues for name in cue.files())]
    names += (take.loras or {}).values()
    lines = [take.dumped()]
    for name in dict.fromkeys(names):
        try:
            lines.append(f"{name} {file_hash(folder / name)}")
        except OSError:
            lines.append(f"{name} is missing")
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
