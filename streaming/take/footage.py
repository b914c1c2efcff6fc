"""Read the pictures and films that a take names, from its folder, at its size and frame rate."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.catalog import Entry
from models.checkpoints.film_latents import FilmFacts, read_film_latents
from models.checkpoints.synced_files import make_folder, sync_file
from models.cue import CueError, Region, Start, StartBy
from models.errors import UserError
from models.source import Encoded, Footage
from models.time_grid import FRAMES_PER_LATENT
from streaming.media.film_pictures import FORMATS as FILMS
from streaming.media.film_reader import FilmReader, barred
from streaming.render_files import end_latents
from streaming.speech.format_name import HEAD, format_name
from streaming.speech.portrait_file import FORMATS as PICTURES
from streaming.speech.portrait_file import MOST_BYTES, Picture, picture_in
from streaming.take.camera_record import SUFFIX, CameraRecord
from streaming.take.picture_cue import CAMERA, Fit, rectangle
from streaming.take.position import latent_at
from streaming.take.take_file import CueLine, Take, TakeError

WHITE = 128  # from this grey value on a mask's picture is drawn
PADDED = ":pad"  # ends the name of a source that gets bars; no file's name in a take has a colon


class MissingFileError(UserError):
    """Report, in one line for a person, a file of a take that is not there."""


class TakeFootage:
    """Supply the pictures that cues name (`streaming.take.picture_cue.CuePictures`) and the frames of sources."""

    def __init__(
        self,
        entry: Entry,
        size: tuple[int, int],
        folder: Path | None = None,
        *,
        files: Mapping[str, Path] | None = None,
        camera: Footage | None = None,
    ) -> None:
        """Supply pictures of `size` (width, height) for a take of this model.

        Files lie in `folder` (None: the take can name none), but for those whose paths are in `files`. `camera` gives
        the frames of the source `camera`, where there is one.
        """
        self._entry, self._size, self._folder = entry, size, folder
        self._files, self._camera = dict(files or {}), camera
        self._films: dict[str, tuple[_Stamp, FilmReader]] = {}  # by the names of sources
        self._records: dict[str, CameraRecord] = {}
        self._starts: dict[tuple[str, Fit, _Stamp], bytes] = {}
        self._hashes: dict[tuple[str, _Stamp], str] = {}
        self.codec: str | None = None  # that of the model, once it is known: a film has latents of its own codec alone
        self.used: set[str] = set()  # names of files of cues that have landed
        self.notes: list[str] = []  # one line each, for a person, on how files were read

    def check(self, take: Take) -> None:
        """Read what the take names, so that what is wrong with it is said before anything is drawn; UserError."""
        for cue in take.cues:
            try:
                cue.cues(self)
            except CueError as e:
                raise TakeError(f"the cue at {cue.at}: {e}") from None

    # -- what cues name --------------------------------------------------------------------------------------------

    def start(self, name: str, fit: Fit, by: StartBy | None) -> Start:
        """Return a picture, or the end of a film of at most what a chunk can see; UserError if it cannot be read."""
        key = name, fit, _stamp(self.path(name))
        if key not in self._starts:
            with self.path(name).open("rb") as file:
                kind = format_name(file.read(HEAD))
            if kind not in PICTURES and kind not in FILMS:
                wanted = "save it as PNG or JPEG, or a film as MP4 or WebM"
                raise CueError(f"{name}: not a picture or a film that can be read but {kind}; {wanted}")
            self._starts[key] = self._picture(name, fit) if kind in PICTURES else self._end_of_film(name, fit)
        own = self._own_latents(self.path(name)) if by is not StartBy.PIN else None
        try:
            if own is not None:
                return Start(self._starts[key], *self._size, by, own.numpy().tobytes(), own.shape[2])
            return Start(self._starts[key], *self._size, by)
        except ValueError as e:
            raise CueError(f"{name}: {e}") from None

    def source(self, name: str, fit: Fit) -> str:
        """Return the name of a source, which tells its fit, after it was opened; UserError if it cannot be followed."""
        if name == CAMERA:
            if self._camera is None:
                raise CueError("no camera is connected; connect one, or name a film to follow")
            return name
        if name.endswith(SUFFIX):
            self._records[name] = self._records.get(name) or CameraRecord(self.path(name), name)
            return name
        source = name + PADDED if fit == "pad" else name
        if source in self._films and self._films[source][0] != _stamp(self.path(name)):
            self._films.pop(source)[1].close()  # another file was given this name, once nothing used the first one
        self._film(source)
        return source

    def region(self, text: str, fit: Fit) -> Region:
        """Return the cells that a rectangle, or a mask's white part, covers for the most part; UserError if none.

        A mask is fitted as the source around it is.
        """
        width, height = self._size
        mask = np.zeros((height, width), np.uint8)
        box = rectangle(text)
        if box is not None:
            left, top, across, down = box
            rows = slice(round(top * height), max(round((top + down) * height), round(top * height) + 1))
            columns = slice(round(left * width), max(round((left + across) * width), round(left * width) + 1))
            mask[rows, columns] = 1
        else:
            picture = self._read_picture(text, fit)
            if picture.transparent:
                raise CueError(f"{text}: a mask with transparent parts; save it in black and white (white is drawn)")
            mask = (self._barred(picture).mean(2) >= WHITE).astype(np.uint8)
        stride = self._entry.stride
        cells = mask.reshape(height // stride, stride, width // stride, stride).mean((1, 3)) >= 0.5
        if not cells.any():
            raise CueError(f"region {text}: covers no cell of {stride}x{stride} pixels; make it larger")
        return Region("".join("1" if cell else "0" for cell in cells.flat), *cells.shape)

    def latent(self, position: int | str) -> int:
        """Return the latent of a position."""
        return latent_at(position, self._entry.fps)

    # -- frames of sources -----------------------------------------------------------------------------------------

    def frames(self, source: str, first: int, count: int) -> Tensor | Encoded:
        """Return RGB frames [count, H, W, 3] uint8 of a source; see `models.source.Footage`."""
        if source == CAMERA:
            if self._camera is None:
                raise CueError("the take follows a camera, and none is connected")
            return self._camera.frames(source, first, count)
        if source.endswith(SUFFIX):
            self.source(source, "crop")
            return self._records[source].given(first, self._latents(-(-count // FRAMES_PER_LATENT)))
        if source not in self._films and source + PADDED in self._films:
            source += PADDED  # in a snapshot of an earlier release
        film = self._film(source)
        frames = film.frames(first, count)
        self._note(*film.notes)
        if film.ended_at is not None and (first + count - 2) / self._entry.fps > film.ended_at:
            self._note(f"{film.name} ends after {film.ended_at:.1f} s; its last picture is held from there on")
        return torch.from_numpy(frames)

    def begins(self, film: str) -> float:
        """Return the time of a film's first picture, in seconds on the clock that its sound shares."""
        return self._film(film).begins

    def close(self) -> None:
        """Close all films."""
        for _, film in self._films.values():
            film.close()
        self._films.clear()

    # -- files -----------------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """Return the path of a file that the take names; MissingFileError if it is not there."""
        path = self._files.get(name)
        if path is None and self._folder is not None:
            path = self._folder / name
        if path is None:
            raise MissingFileError(f"{name}: the take has no folder to look for it in")
        try:
            found = path.is_file()
        except OSError:  # such as a name that is too long
            found = False
        if not found:
            raise MissingFileError(f"{name}: no such file, which the take names")
        return path

    def hashed(self, cue: CueLine) -> CueLine:
        """Return a cue with the hashes of the files that it names; a file that is another one than then is noted."""
        now = {name: self._hash(name) for name in cue.files()}
        for name, digest in now.items():
            self.used.add(name)
            if cue.hashes.get(name, digest) != digest:
                self._note(f"{name} is not the file that the take was made with; frames differ")
        return cue.model_copy(update={"hashes": now}) if now else cue

    def kept_beside(self, take: Take, out: Path) -> Take:
        """Return a take whose files lie beside the film `out` or below its folder, into which others are copied.

        Copies lie in a folder of the film's name with the ending `.files`. OSError if the disk does not take them.
        """
        names: dict[str, str] = {}
        copied: set[str] = set()
        for name in sorted({name for cue in take.cues for name in cue.files()}):
            path, folder = self.path(name).resolve(), out.parent.resolve()
            if path.is_relative_to(folder):
                names[name] = path.relative_to(folder).as_posix()
                continue
            own, number = path.name, 1
            while own in copied:  # a file of another folder has this name
                number += 1
                own = f"{path.stem}-{number}{path.suffix}"
            copied.add(own)
            copy = folder / f"{out.stem}.files" / own
            copies = {path: copy}
            if self._own_latents(path) is not None:
                copies[end_latents(path)] = end_latents(copy)
            for given, kept in copies.items():
                make_folder(kept.parent)
                shutil.copyfile(given, kept)
                sync_file(kept)
            names[name] = copy.relative_to(folder).as_posix()
        return take.model_copy(update={"cues": [cue.with_names(names) for cue in take.cues]})

    def _note(self, *notes: str) -> None:
        self.notes += [note for note in dict.fromkeys(notes) if note not in self.notes]

    def _hash(self, name: str) -> str:
        """Return the hash of a file, which is read again only if it has changed."""
        path = self.path(name)
        key = name, _stamp(path)
        if key not in self._hashes:
            self._hashes[key] = file_hash(path)
        own = self._own_latents(path)
        return self._hashes[key] if own is None else with_latents(self._hashes[key], own)

    def _own_latents(self, path: Path) -> Tensor | None:
        """Return the clean latents of the end of a film that this model's codec has decoded; None of other files."""
        kept = end_latents(path)
        if self.codec is None or not kept.is_file():
            return None
        own = read_film_latents(kept, FilmFacts(file_hash(path), self.codec, self._size))
        return None if own is None or own.shape != self._latents(own.shape[2]) else own

    def _latents(self, count: int) -> tuple[int, ...]:
        """Return the shape of so many latents of the take."""
        (width, height), stride = self._size, self._entry.stride
        return 1, self._entry.transformer["out_channels"], count, height // stride, width // stride

    def _film(self, source: str) -> FilmReader:
        if source not in self._films:
            name = source.removesuffix(PADDED)
            film = FilmReader(self.path(name), self._size, self._entry.fps, pad=name != source, name=name)
            self._films[source] = _stamp(self.path(name)), film
            self._note(*film.notes)
        return self._films[source][1]

    def _end_of_film(self, name: str, fit: Fit) -> bytes:
        rollout = self._entry.rollout
        film = FilmReader(self.path(name), self._size, self._entry.fps, pad=fit == "pad", name=name)
        try:
            frames = film.last(FRAMES_PER_LATENT * (rollout.window - rollout.chunk - 1) + 1)
            self._note(*film.notes)
            return frames.tobytes()
        finally:
            film.close()

    def _picture(self, name: str, fit: Fit) -> bytes:
        return self._barred(self._read_picture(name, fit)).tobytes()

    def _read_picture(self, name: str, fit: Fit) -> Picture:
        with self.path(name).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        picture = picture_in(data, self._size, name, whole=fit == "pad")
        self._note(*picture.notes)
        return picture

    def _barred(self, picture: Picture) -> NDArray[np.uint8]:
        width, height = picture.size
        pixels: NDArray[np.uint8] = np.frombuffer(picture.pixels, np.uint8).reshape(height, width, 3)
        return barred(pixels, self._size)


_Stamp = tuple[int, int, int]  # tells files apart that had the same path one after the other


def _stamp(path: Path) -> _Stamp:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def with_latents(film: str, latents: Tensor) -> str:
    """Return a hash of a film, given its file's, and the latents that a take goes on from, as `file_hash` does."""
    return hashlib.blake2b(film.encode() + latents.numpy().tobytes(), digest_size=8).hexdigest()


def file_hash(path: Path) -> str:
    """Return a hash of a file: 16 hexadecimal digits of BLAKE2b (RFC 7693)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
