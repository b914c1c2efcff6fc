"""Define the fields of a cue that name pictures, films and scenes: start, source with its region, and recall."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.cue import OTHER_WORDS, Cue, CueError, Follow, Recall, Region, Start, StartBy, Unfollow
from streaming.take.position import Position

CAMERA, NOTHING = "camera", "none"  # values of `source` that are no files
MOST_NAME = 200  # characters of a file's name with its folders
Fit = Literal["crop", "pad"]
_PERCENT = r"\s*(\d{1,3}(?:\.\d{1,4})?)\s*%\s*"
_RECTANGLE = re.compile(",".join([_PERCENT] * 4), re.ASCII)


def checked_name(value: Any) -> Any:
    """Return a file's name if it lies in the take's folder or below it; ValueError says in one line why it does not."""
    if not isinstance(value, str):
        return value
    if not value.strip() or len(value) > MOST_NAME or not value.isprintable():
        raise ValueError(f"needs the name of a file of at most {MOST_NAME} characters, not {value[:40]!r}")
    parts = re.split(r"[/\\]", value)
    if "\\" in value or ":" in value or not parts[0] or ".." in parts:
        raise ValueError(f"{value[:60]!r} must lie in the take's folder or below it, such as pictures/clip.mp4")
    return value


def rectangle(text: str) -> tuple[float, float, float, float] | None:
    """Return left, top, width and height, 0 … 1, of a text such as `25%, 25%, 50%, 50%`; None for another text.

    ValueError if the rectangle is empty or does not lie in the picture.
    """
    found = _RECTANGLE.fullmatch(text)
    if found is None:
        return None
    left, top, width, height = (float(part) / 100 for part in found.groups())
    if not (width > 0 and height > 0 and left + width <= 1 and top + height <= 1):
        raise ValueError(f"the rectangle {text} is empty, or does not lie within 100 % of the picture")
    return left, top, width, height


def _region(value: Any) -> Any:
    if isinstance(value, str) and rectangle(value) is None:
        if "%" in value:
            raise ValueError(f"{value[:60]!r} is no rectangle; write left, top, width, height as 25%, 25%, 50%, 50%")
        return checked_name(value)
    return value


FileName = Annotated[str, BeforeValidator(checked_name)]


class CuePictures(Protocol):
    """Supply what cues name, for a take of one size and model."""

    def start(self, name: str, fit: Fit, by: StartBy | None) -> Start:
        """Return the picture, or the end of the film, that a file holds."""
        ...

    def source(self, name: str, fit: Fit) -> str:
        """Return the name of a source, after a check that it can be followed."""
        ...

    def region(self, text: str, fit: Fit) -> Region:
        """Return the region of a rectangle, or of a mask in a file."""
        ...

    def latent(self, position: int | str) -> int:
        """Return the latent of a position."""
        ...


class PictureCue(BaseModel):
    """Say which pictures come in at a position of a take, and which scene comes back."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    start: FileName | None = None
    """File beside the take that the take, or from later on a new scene, begins with: an image, or a film that it goes
    on from."""
    start_by: Literal["pin", "prefix"] | None = None
    """How an image is begun with: `pin` makes it the first frame, `prefix` a chunk that stands still; each model has
    its own default."""
    source: FileName | None = None
    """Film beside the take that the picture follows, or `camera` (a record of one is a `.camera` file), or `none` to
    follow nothing any more."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far the picture may leave the source, from 0 to 1; alone it changes how the present source is followed."""
    region: Annotated[str, BeforeValidator(_region)] | None = None
    """Part that is drawn while the source stays around it: `left, top, width, height` such as `25%, 25%, 50%, 50%`,
    or a file with a mask, white where the picture is drawn."""
    fit: Fit = "crop"
    """How pictures of another shape are fitted: `crop` cuts off what stands out, `pad` adds bars."""
    recall: Position | None = None
    """Position whose scene comes back, as it was at that scene's end."""
    hashes: dict[str, str] = Field(default_factory=dict)
    """Hashes of the files that it names, by name; filled in when it lands."""

    @model_validator(mode="before")
    @classmethod
    def _other_words(cls, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name in OTHER_WORDS:
                raise ValueError(f"{name}: is written as {OTHER_WORDS[name]}")
        return data

    @model_validator(mode="after")
    def _belong_together(self) -> PictureCue:
        if self.start_by is not None and self.start is None:
            raise ValueError("start_by goes with a start")
        if self.fit != "crop" and self.start is None and self.source in (None, NOTHING, CAMERA) and not self._mask:
            raise ValueError("fit goes with a start or a source that are files, or with a mask")
        if self.source == NOTHING and (self.strength is not None or self.region is not None):
            raise ValueError("a strength or a region goes with a source that is followed, not with source: none")
        if self.recall is not None and self.start is not None:
            raise ValueError("start begins a new scene and recall brings an old one back; keep one of them")
        return self

    @property
    def shows(self) -> bool:
        """Return whether the cue names pictures, or a scene."""
        named = (self.start, self.source, self.strength, self.region, self.recall)
        return any(value is not None for value in named)

    def files(self) -> list[str]:
        """Return the names of the files that the cue needs."""
        source = self.source if self.source not in (CAMERA, NOTHING) else None
        return [name for name in (self.start, source, self._mask) if name is not None]

    @property
    def _mask(self) -> str | None:
        return self.region if self.region is not None and rectangle(self.region) is None else None

    def with_names(self, names: Mapping[str, str]) -> Self:
        """Return the cue with its files under other names; those that `names` lacks are kept."""
        given = {"start": self.start, "source": self.source, "region": self.region}
        renamed = {field: names.get(name, name) for field, name in given.items() if name is not None}
        hashes = {names.get(name, name): digest for name, digest in self.hashes.items()}
        return self.model_copy(update={**renamed, "hashes": hashes})

    def by_content(self) -> Self:
        """Return the cue with the hashes of its files, where they are known, in the place of names."""
        return self.with_names(self.hashes).model_copy(update={"hashes": {}})

    def picture_cues(self, pictures: CuePictures | None) -> list[Cue]:
        """Return the cues: start, recall, source. CueError if there is nothing that supplies the pictures."""
        if not self.shows:
            return []
        if pictures is None:
            raise CueError("the cue names pictures or a scene, and nothing supplies them here")
        cues: list[Cue] = []
        if self.start is not None:
            by = None if self.start_by is None else StartBy(self.start_by)
            cues.append(pictures.start(self.start, self.fit, by))
        if self.recall is not None:
            cues.append(Recall(pictures.latent(self.recall)))
        if self.source == NOTHING:
            cues.append(Unfollow())
        elif self.source is not None or self.strength is not None or self.region is not None:
            source = None if self.source is None else pictures.source(self.source, self.fit)
            region = None if self.region is None else pictures.region(self.region, self.fit)
            cues.append(Follow(source, self.strength, region))
        return cues
