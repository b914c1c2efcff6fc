"""Add the pictures and films of the command line to a take that is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands import CommandError
from app.commands.inputs import require_input
from app.commands.options import FitChoice, StartBy

if TYPE_CHECKING:
    from streaming.take.take_file import Take


def kind_of(path: Path) -> str:
    """Return the kind of a file by its first bytes, such as `a PNG picture`; CommandError if it cannot be opened."""
    from streaming.speech.format_name import HEAD, format_name

    try:
        with path.open("rb") as file:
            return format_name(file.read(HEAD))
    except OSError as e:
        raise CommandError(f"{path}: cannot be read ({e.strerror})") from None


@dataclass(frozen=True)
class Pictures:
    """Hold the options of `longtake render` that name pictures and films."""

    image: Path | None
    video: Path | None
    source: Path | None
    strength: float | None
    region: str | None
    start_by: StartBy | None
    fit: FitChoice

    def files(self) -> dict[str, Path]:
        """Return the paths of the files by the names that they have in the take."""
        paths = [path for path in (self.image, self.video, self.source, self._mask) if path is not None]
        return {path.name: path for path in paths}

    def added_to(self, take: Take, folder: Path) -> Take:
        """Return the take, whose own files lie in `folder`, with these options in its first cue.

        CommandError if they exclude each other, or if the take cannot name a file.
        """
        from pydantic import ValidationError

        from streaming.take.position import at_start
        from streaming.take.take_file import CueLine

        given = (self.image, self.video, self.source, self.strength, self.region, self.start_by)
        if all(option is None for option in given):
            if self.fit is not FitChoice.CROP:
                raise CommandError("--fit is for --image, --video or --source")
            return take
        self._check()
        self._refuse_names_of(take, folder)
        first = next(i for i, cue in enumerate(take.cues) if cue.prompt is not None and at_start(cue.at))
        cue, changes = take.cues[first], self._changes()
        for name in ("start", "source", "strength", "region"):
            if name in changes and name in cue.model_fields_set:
                raise CommandError(f"the take has a {name} already; take it out, or leave the option out")
        try:
            changed = CueLine.model_validate({**cue.model_dump(exclude_unset=True), **changes})
        except ValidationError as e:
            raise CommandError(e.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return take.model_copy(update={"cues": [*take.cues[:first], changed, *take.cues[first + 1 :]]})

    def _refuse_names_of(self, take: Take, folder: Path) -> None:
        """Raise CommandError if a file has a name by which the take means another one, or that a take cannot write."""
        from streaming.take.picture_cue import CAMERA, NOTHING, checked_name

        for name, path in self.files().items():
            own = any(name in cue.files() for cue in take.cues)
            if own and path.resolve() != (folder / name).resolve():
                raise CommandError(f"{path}: the take names a file {name} of its own; give one of them another name")
            try:
                checked_name(name)
            except ValueError:
                raise CommandError(f"{str(path)[:200]!r}: a take cannot name this file; give it a plain name") from None
            if path == self.source and name in (CAMERA, NOTHING):
                raise CommandError(f"{path}: {name} as a source is no file; rename it")

    def _check(self) -> None:
        if self.image is not None and self.video is not None:
            raise CommandError("--image begins with a picture and --video goes on from a film: give one of them")
        if self.start_by is not None and self.image is None:
            raise CommandError("--start-by is for --image")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise CommandError(f"--strength is a number above 0 and up to 1, not {self.strength:g}")
        paths = [path for path in (self.image, self.video, self.source, self._mask) if path is not None]
        for path in paths:
            require_input(path)
        self._check_kinds()
        names = [path.name for path in dict.fromkeys(paths)]
        if len(set(names)) < len(names):
            raise CommandError("two files of one command need different names")

    def _check_kinds(self) -> None:
        """Raise CommandError if a film is given where a picture belongs, or the other way round.

        A GIF is both, but a take begins with its first picture.
        """
        from streaming.media.film_pictures import FORMATS as FILMS
        from streaming.speech.portrait_file import FORMATS as PICTURES

        if self.image is not None and (kind := kind_of(self.image)) in FILMS and kind not in PICTURES:
            raise CommandError(f"--image {self.image}: {kind}, and no picture; --video goes on from a film")
        if self.video is not None and (kind := kind_of(self.video)) in PICTURES:
            instead = "save it as MP4 or WebM" if kind in FILMS else "--image begins with a picture"
            raise CommandError(f"--video {self.video}: {kind}, and no film to go on from; {instead}")

    @property
    def _mask(self) -> Path | None:
        return Path(self.region) if self.region is not None and "%" not in self.region else None

    def _changes(self) -> dict[str, Any]:
        start = self.image or self.video
        region = self._mask.name if self._mask is not None else self.region
        changes = {
            "start": start.name if start else None,
            "start_by": self.start_by.value if self.start_by else None,
            "source": self.source.name if self.source else None,
            "strength": self.strength,
            "region": region,
            "fit": self.fit.value if self.fit is not FitChoice.CROP else None,
        }
        return {name: value for name, value in changes.items() if value is not None}
