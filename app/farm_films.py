"""Read the takes of `longtake farm`, and say for each film what is to be done."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.commands import CommandError
from app.commands.inputs import shipped_take
from app.commands.outputs import working_files
from app.farm_workers import FarmRender, FarmWorkers
from app.known_models import find
from models.catalog import Entry
from models.checkpoints.assemble import fingerprints, folder_of
from models.checkpoints.folders import models_folder
from models.cue import LoraScale, scale_text
from models.errors import UserError
from streaming.farm import FarmTask
from streaming.film_note import FilmNote, is_finished, note_of, read_note, take_hash, write_note
from streaming.film_parts import join, parts_folder, parts_of
from streaming.render_files import RenderFiles
from streaming.render_process import Ending
from streaming.take.footage import file_hash
from streaming.take.take_file import Take, read_take_file


@dataclass(frozen=True)
class FarmOptions:
    """Hold the options of a farm that apply to each of its films, as they are given."""

    engine: str
    codec: str | None
    vram: str | None
    loras: tuple[str, ...]
    scale: int
    model: str | None
    restart: bool
    split: bool

    def of_render(self, device: str) -> list[str]:
        """Return the options of `longtake render` for films on a device, with absolute paths."""
        given = ["--device", device, "--engine", self.engine, "--scale", str(self.scale)]
        for option, value in {"--codec": self.codec, "--vram": self.vram, "--model": self.model}.items():
            given += [] if value is None else [option, value]
        for text in self.loras:
            lora = LoraScale.parse(text)
            given += ["--lora", f"{Path(lora.name).absolute()}:{scale_text(lora.scale)}"]
        return [*given, "--restart"] if self.restart else given

    def made_with(self, entry: Entry, kind: str) -> dict[str, str]:
        """Return what changes a film, by the words that a person reads: weights, options, the `kind` of device."""
        chosen = entry if self.codec is None else entry.with_codec(self.codec)
        try:
            weights, codec = fingerprints(chosen, folder_of(entry, models_folder()))
        except OSError:  # the render says it better
            weights = codec = "missing"
        options = {"--engine": self.engine, "--codec": self.codec, "--vram": self.vram, "--scale": str(self.scale)}
        loras = [LoraScale.parse(text) for text in self.loras]
        return {
            "model": entry.name,
            "weights": weights,
            "weights of the codec": codec,
            "device": kind,
            **{option: value for option, value in options.items() if value is not None},
            **{f"--lora {Path(lora.name).name}": f"{_hash(Path(lora.name))}:{lora.scale:g}" for lora in loras},
        }


@dataclass(frozen=True)
class AskedFilm:
    """Hold a film that is asked for: its take, the file of that, and which story of it, from 1, if it has several."""

    name: str
    film: Path
    file: Path
    take: Take
    story: int | None


@dataclass
class AskedFilms:
    """Hold all films that are asked for, and a line about each take that cannot be read."""

    films: list[AskedFilm] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FilmOfFarm:
    """Say what is to be done for one film (`streaming.farm.FarmFilm`)."""

    name: str
    parts: Sequence[FarmTask]
    whole: FarmTask
    note: FilmNote
    joined: Sequence[Path] = ()  # all parts, the finished ones among them

    def join(self) -> list[str]:
        """Put the parts together, if there are any; return notes. RenderError or OSError if that fails."""
        return join(self.joined, self.whole.film) if self.joined else []

    def finish(self) -> None:
        """Note that the film is finished; OSError if the disk does not take it."""
        write_note(self.whole.film, self.note, finished=True)


def read_takes(files: Sequence[Path], out: Path, options: FarmOptions) -> AskedFilms:
    """Read all takes; CommandError if two films, or a film and a take, would have the same files."""
    found = AskedFilms()
    inputs: list[Path] = []
    for given in files:
        file = (shipped_take(given) or given).absolute()
        inputs.append(file)
        try:
            takes = read_take_file(file).takes
        except UserError as e:
            found.failures.append(str(e))
            continue
        for number, take in enumerate(takes, 1):
            several = len(takes) > 1
            name = f"{file.stem}-{number:02}" if several else file.stem
            asked = take.model_copy(update={"model": options.model or take.model})
            found.films.append(
                AskedFilm(f"{given}, story {number}" if several else str(given), out / f"{name}.mp4", file, asked,
                          number if several else None)
            )  # fmt: skip
    _require_apart(found.films, inputs)
    return found


def tasks_of(found: AskedFilms, options: FarmOptions) -> int:
    """Return how many processes could run at once, at least one; finished films count, so that each run has as many."""
    count = 0
    for asked in found.films:
        try:
            parts = parts_of(asked.take, find(asked.take.model)) if options.split else []
        except UserError:  # it is reported when its turn comes
            parts = []
        count += max(1, len(parts))
    return max(1, count)


def _require_apart(films: Sequence[AskedFilm], inputs: Sequence[Path]) -> None:
    owners: dict[Path, AskedFilm] = {}
    for film in films:
        for path in _files_of(film.film):
            other = owners.setdefault(path, film)
            if other is not film:
                raise CommandError(f"{other.name} and {film.name}: both would write {path.name}; rename one of them")
    for file in inputs:
        if (owner := owners.get(file.resolve())) is not None:
            raise CommandError(f"{file}: would be overwritten by the render of {owner.name}; choose another folder")


def _files_of(film: Path) -> list[Path]:
    return [film.resolve(), note_of(film).resolve(), parts_folder(film).resolve(), *working_files(film)]


def films_of(
    found: AskedFilms, options: FarmOptions, workers: FarmWorkers, count: int
) -> tuple[list[FilmOfFarm], list[Path], list[str]]:
    """Return (films to render, films that are finished, a line about each that cannot be rendered).

    So many of the workers render at once.
    """
    threads = workers.threads(count)
    films: list[FilmOfFarm] = []
    finished: list[Path] = []
    failures: list[str] = []
    for asked in found.films:
        try:
            film = _film(asked, options, workers, threads)
        except UserError as e:
            failures.append(f"{asked.name}: {e}")
            continue
        except OSError as e:
            failures.append(f"{asked.name}: {e.filename or asked.film}: {e.strerror or e}")
            continue
        if film is None:
            finished.append(asked.film)
        else:
            films.append(film)
    return films, finished, failures


def _film(asked: AskedFilm, options: FarmOptions, workers: FarmWorkers, threads: int | None) -> FilmOfFarm | None:
    """Return what is to be done for a film; None if it is finished. CommandError if it was made in another way."""
    entry = find(asked.take.model)
    note = FilmNote(take=take_hash(asked.take, asked.file.parent), made_with=options.made_with(entry, workers.kind))
    if is_finished(asked.film, note):
        return None
    then = read_note(asked.film)
    if then is not None and (differs := then.differences(note)):
        if not options.restart:
            raise CommandError(f"{asked.film} was made in another way ({differs}); --restart begins it anew")
        for kind in ("", ".silent"):
            RenderFiles(asked.film.with_name(f"{asked.film.stem}{kind}.mp4")).discard()
    apart = parts_folder(asked.film)
    if apart.exists():
        if then is None:
            raise CommandError(f"{apart}: is in the way; the parts of a film lie in a folder of that name")
        if then.take != note.take or then.differences(note):
            shutil.rmtree(apart)
    write_note(asked.film, note, finished=False)
    own = [] if asked.story is None else ["--story", str(asked.story)]

    def task(film: Path, chunks: int, more: Sequence[str] = (), before: int = 0) -> FarmTask:
        async def run(worker: int) -> Ending:
            arguments = (*options.of_render(workers.device_of(worker)), *own, *more)
            return await workers.render(FarmRender(asked.file, film, arguments, threads, models_folder().absolute()))

        return FarmTask(film, chunks, run, before)

    total = asked.take.chunks(entry.rollout.grid, entry.fps)
    begun = RenderFiles(asked.film).journal.exists()
    parts = parts_of(asked.take, entry) if options.split and not begun else []
    if not parts:
        if apart.exists():  # a kill came after the parts were joined, or they are not asked for any more
            shutil.rmtree(apart)
        if options.split and not begun:
            print(f"note: {asked.name}: is drawn whole; nothing in it can be drawn apart", file=sys.stderr)
        return FilmOfFarm(asked.name, (), task(asked.film, total), note)
    apart.mkdir(exist_ok=True)
    films = [apart / f"{number:03}.mp4" for number in range(1, len(parts) + 1)]
    left = [
        task(film, part.end - part.first, ["--part", str(number)])
        for number, (film, part) in enumerate(zip(films, parts, strict=True), 1)
        if not film.exists()
    ]
    end = parts[-1].end
    return FilmOfFarm(asked.name, left, task(asked.film, total - end, before=end), note, films)


def _hash(path: Path) -> str:
    """Return a hash of a LoRA's file; of a folder, which holds one, that of its name and of each file."""
    if path.is_file():
        return file_hash(path)
    return "+".join(f"{file.name} {file_hash(file)}" for file in sorted(path.iterdir()) if file.is_file())
