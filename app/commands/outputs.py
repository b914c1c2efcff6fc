"""Check that a command can write its output files before it starts any long work."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from pathlib import Path

from models.errors import UserError

LEAST_FREE = 32_000_000  # bytes: a minute of film, the journal and the newest checkpoint of a small model
_LONGEST_ENDING = ".silent.partial.take.yaml"  # the longest suffix of a render's working files
_WORK_ENDINGS = (
    *(f"{silent}.{kind}" for silent in ("", ".silent") for kind in ("partial.mp4", "take.yaml", "render")),
    ".silent.mp4",
)
PICTURES = (".png", ".jpg", ".jpeg")  # of a contact sheet


class OutputError(UserError):
    """Report a place that cannot be written to."""


def require_film(out: Path) -> None:
    """Raise OutputError unless `out` names an .mp4 in a folder that can be written, with room for a render."""
    if out.suffix != ".mp4":
        raise OutputError(f"{out}: the output is an .mp4 file")
    _require_file(out, out.with_name(out.stem + _LONGEST_ENDING))
    work = out.with_name(f"{out.stem}.render")
    if work.exists() and not work.is_dir():
        raise OutputError(f"{work}: is in the way; a render keeps its state in a folder of that name")


def require_side_files(films: list[Path], take: Path | None, *sides: Path | None) -> None:
    """Raise OutputError unless every side file can be written and differs from all other files of the command.

    The other files are the films, the working files of a render beside them, the take and the other side files.
    """
    taken = {path.resolve() for path in [*films, *([take] if take else [])]}
    work = {path for film in films for path in working_files(film)}
    for side in sides:
        if side is None:
            continue
        _require_file(side)
        place = side.resolve()
        if place in taken:
            raise OutputError(f"{side}: two files of one command need different names")
        if not work.isdisjoint((place, *place.parents)):
            raise OutputError(f"{side}: is a name that the render keeps its state under; choose another")
        if side.exists() and not side.is_file():
            raise OutputError(f"{side}: is no ordinary file")
        taken.add(place)


def working_files(film: Path) -> list[Path]:
    """Return the files and folders that a render to `film` may make beside it."""
    return [film.with_name(film.stem + ending).resolve() for ending in _WORK_ENDINGS]


def require_apart(out: Path, *inputs: Path | None) -> None:
    """Raise OutputError if the output `out` would overwrite one of the inputs."""
    for path in inputs:
        if path is not None and path.resolve() == out.resolve():
            raise OutputError(f"{out}: is read from, and cannot be written to as well; give -o another name")


def require_picture(path: Path | None) -> None:
    """Raise OutputError if `path` names a file that is not written as a picture of a known format."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise OutputError(f"{path}: a picture is written as {', '.join(PICTURES)}")


def require_log(path: Path) -> None:
    """Raise OutputError unless text can be appended to the file `path`."""
    _require_file(path)
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as e:
            raise _error(path, e) from e


def require_folder(folder: Path, room: int = LEAST_FREE) -> None:
    """Create `folder` if it is missing; raise OutputError if that fails or fewer than `room` bytes are free."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as e:
        raise OutputError(f"{folder}: is a file, and a folder is needed") from e
    except OSError as e:
        raise _error(folder, e) from e
    _require_room(folder, room)


def _require_file(path: Path, longest: Path | None = None) -> None:
    """Raise OutputError unless a file can be created at `path` and, for the longest name needed, at `longest`."""
    try:
        folder = path.is_dir()
        with contextlib.suppress(FileNotFoundError):
            path.stat()  # OSError for a link that leads to itself
        (longest or path).lstat()
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise OutputError(f"{path}: the folder {path.parent} does not exist or cannot be written") from None
    except OSError as e:
        raise _error(path, e) from e
    if folder:
        raise OutputError(f"{path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist or cannot be written")
    _require_room(path.parent, LEAST_FREE, path)


def _require_room(folder: Path, room: int, path: Path | None = None) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):  # permission bits do not tell whether the file system allows writing
            pass
        free = shutil.disk_usage(folder).free
    except OSError as e:
        why = e.strerror or e
        raise OutputError(f"{path or folder}: the folder {folder} does not exist or cannot be written ({why})") from e
    if free < room:
        raise OutputError(f"{path or folder}: the disk has {free / 1e6:.0f} MB free, {room / 1e6:.0f} MB are needed")


def _error(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(f"{str(path)[:40]}...: the name is too long")
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")
