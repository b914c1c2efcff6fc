"""Read and write take files: a linear run as YAML that a person can read, with the latents on which cues landed.

model: pocket
seed: 7
length: 20s
cues:
  - prompt: a red ball bounces over the meadow by day
  - at: 6s
    prompt: a blue fish drifts right over the sea by day
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.cue import Cue, Cut, Hold, Hush, LoraScale, Parameter, Prompt, Recache, Seed, checked_prompt
from models.generator import SizeError
from models.matte import rgb_of
from models.noise import Noise
from models.text.emphasis import parse_emphasis
from models.time_grid import TimeGrid
from streaming.take.complaints import complaint
from streaming.take.json_data import json_value
from streaming.take.picture_cue import CuePictures, PictureCue
from streaming.take.position import MOST_LATENTS, Length, Position, at_start, latent_at
from streaming.take.speakers import Beside, LayoutName, TakeSpeaker, require_distinct
from streaming.take.stories import KEYS, Story, stories_of_json, stories_of_json_lines, story_of_text
from streaming.take.text_file import TakeError, read_text
from streaming.take.yaml_data import YamlText, needs_quotes

__all__ = ["CueLine", "Take", "TakeError", "TakeFile", "latent_at", "load", "parse", "read_take_file", "size_of"]

log = logging.getLogger(__name__)

TEXTS = frozenset(  # fields that hold text
    {"prompt", "model", "size", "parent", "reference", "sound", "set", "start", "start_by", "source", "region", "fit"}
    | {"hashes", "name", "speaker", "layout", "background", "noise"}
)
MOST_CUES = 100_000


def size_of(text: str) -> tuple[int, int]:
    """Return width and height in pixels of a text such as `128x96`; SizeError for anything else."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise SizeError(f"{text!r} is not a size such as 128x128")
    width, height = text.split("x")
    return int(width), int(height)


def _prompt(value: Any) -> Any:
    return checked_prompt(value) if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


MOST_HELD = 90_000  # frames: an hour


class CueLine(PictureCue):
    """Say what happens at a position of a take: at least one of its fields besides `at`, `blend` and `landed`."""

    at: Position = 0
    """Position at which the cue was asked for: a latent, or seconds such as `12s`."""
    prompt: Annotated[str, BeforeValidator(_prompt)] | None = None
    blend: Annotated[int, Field(ge=1, le=64)] = 1
    """Chunks over which the prompt takes over."""
    cut: bool = False
    """Begin a new scene: nothing of the picture before is remembered."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """New noise from here on."""
    set: dict[str, str] = Field(default_factory=dict)
    """Settings of the rollout that change, by name."""
    hush: Annotated[int, Field(ge=0)] | None = None
    """Frame of the film, held ones included, after which an avatar was interrupted."""
    speaker: Annotated[str, Field(max_length=40)] | None = None
    """The speaker of a dialogue who was interrupted; all of them if absent."""
    hold: Annotated[int, Field(ge=1, le=MOST_HELD)] | None = None
    """Frames for which the picture stood still here while an avatar's sound went on: drawing was too slow."""
    recache: bool = False
    """Make the keys of the visible past anew here, as after a rewind of a model whose keys are not kept."""
    lora: Annotated[list[Annotated[str, Field(max_length=1000)]], BeforeValidator(_listed), Field(max_length=16)] = (
        Field(default_factory=list)
    )
    """LoRAs with their scales from here on, as `FILE:SCALE`; 0 takes one out, and others keep theirs."""
    landed: Annotated[int, Field(ge=0)] | None = None
    """First latent of the chunk on which the cue took effect; filled in by the rollout."""

    @field_validator("set")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, setting in value.items():
            Parameter(name, setting)  # type: ignore[arg-type]
        return value

    @field_validator("lora")
    @classmethod
    def _scaled(cls, value: list[str]) -> list[str]:
        names = [LoraScale.parse(text).name for text in value]
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            raise ValueError(f"{twice} has two scales; say one")
        return value

    @model_validator(mode="after")
    def _does_something(self) -> CueLine:
        if not self.shows and not self.cues():
            raise ValueError("a cue needs a prompt, cut, seed, set, hush, hold, recache, lora, start, source or recall")
        if self.blend > 1 and self.prompt is None:
            raise ValueError("blend goes with a prompt")
        if self.speaker is not None and self.hush is None:
            raise ValueError("speaker goes with hush")
        return self

    def cues(self, pictures: CuePictures | None = None) -> list[Cue]:
        """Return the cues of the line in the order in which they apply, the prompt last.

        `pictures` supplies what it names; CueError if it names something and there is none.
        """
        cues: list[Cue] = [Recache()] if self.recache else []
        cues += [Parameter(name, value) for name, value in self.set.items()]  # type: ignore[arg-type]
        cues += [Cut()] if self.cut else []
        cues += self.picture_cues(pictures)
        cues += [Seed(self.seed)] if self.seed is not None else []
        cues += [Hold(self.hold)] if self.hold is not None else []
        cues += [Hush(self.hush, self.speaker)] if self.hush is not None else []
        cues += [LoraScale.parse(text) for text in self.lora]
        return cues + ([Prompt(self.prompt, self.blend)] if self.prompt is not None else [])


Recorded = Annotated[str, Field(max_length=1000)] | Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Dumper(yaml.SafeDumper):
    """Write texts in double quotes where they would be read as another value without.

    That is so of line separators, which are escaped there and become line ends elsewhere, and of digests such as 12e3.
    """


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\r\x85\u2028\u2029]", text) or needs_quotes(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


class Take(BaseModel):
    """Describe a linear run: model, seed, size, length and cues; for an avatar also its portrait and its sound.

    A dialogue has several speakers, each with a portrait and a sound; its own sound is what was heard of all of them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = "pocket"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    noise: Literal["torch", "philox"] | None = None  # what draws it: see `drawn_from`
    size: str | None = None
    length: Length = "20s"
    parent: str | None = None
    reference: Beside | None = None
    sound: Beside | None = None
    speakers: Annotated[list[TakeSpeaker], Field(min_length=2, max_length=6)] | None = None
    layout: LayoutName | None = None  # of a dialogue: side if absent
    background: str | None = None  # colour behind an avatar's face, such as #00b140; what its portrait shows if absent
    loras: Annotated[dict[str, str], Field(max_length=16)] | None = None  # name → file, of those not beside the take
    cues: Annotated[list[CueLine], Field(max_length=MOST_CUES)]
    record: Annotated[dict[str, Recorded], Field(max_length=100)] | None = None

    @field_validator("size")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            size_of(value)
        return value

    @field_validator("background")
    @classmethod
    def _colour(cls, value: str | None) -> str | None:
        if value is not None:
            rgb_of(value)
        return value

    @model_validator(mode="after")
    def _opens(self) -> Take:
        if not any(e.prompt is not None and at_start(e.at) for e in self.cues):
            raise ValueError("cues: the first cue needs a prompt at 0")
        if self.sound is None and any(e.hush is not None for e in self.cues):
            raise ValueError("cues: hush takes back what was heard; the take names no sound")
        if self.sound is None and any(e.hold is not None for e in self.cues):
            raise ValueError("cues: hold lets the sound go on before the picture; the take names no sound")
        if self.speakers is None and self.layout is not None:
            raise ValueError("layout: arranges the faces of a dialogue; the take names no speakers")
        require_distinct(self.speakers or [])
        if self.speakers is not None and self.reference is not None:
            raise ValueError("reference: the portraits of a dialogue stand with its speakers")
        known = {speaker.name for speaker in self.speakers or []}
        if stranger := next((e.speaker for e in self.cues if e.speaker is not None and e.speaker not in known), None):
            raise ValueError(f"cues: hush names {stranger[:40]!r}, who is no speaker of the take")
        return self

    @property
    def drawn_from(self) -> Noise:
        """Return the generator of the take's noise. Takes that earlier releases drew have a record and name none."""
        if self.noise is not None:
            return Noise(self.noise)
        return Noise.PHILOX if self.record is None else Noise.TORCH

    def with_noise(self, noise: Noise | None = None) -> Take:
        """Return the take with the generator of its noise named, so that it is drawn from it ever after.

        It is `noise` where the take names none; None: what it is drawn from by itself.
        """
        named = self.drawn_from if self.noise is not None or noise is None else noise
        return self.model_copy(update={"noise": named.value})

    @property
    def faces(self) -> int:
        """Return how many faces the take draws in step: one unless it is a dialogue."""
        return len(self.speakers) if self.speakers is not None else 1

    @property
    def sounds(self) -> list[str]:
        """Return the names of the sound files beside the take."""
        spoken = [speaker.sound for speaker in self.speakers or []]
        return [name for name in (self.sound, *spoken) if name is not None]

    @property
    def portraits(self) -> list[str]:
        """Return the names of the pictures beside the take that its faces stay true to."""
        faces = [speaker.reference for speaker in self.speakers or []]
        return [name for name in (self.reference, *faces) if name is not None]

    def film_size(self, default: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of the film in pixels: of a dialogue side by side, that of all faces together."""
        width, height = self.width_height(default)
        return (width if self.layout == "cut" else width * self.faces), height

    def width_height(self, default: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of what the model draws, of one face where there are several."""
        if self.size is None:
            return default
        return size_of(self.size)

    def landing(self, grid: TimeGrid, fps: int) -> list[tuple[int, CueLine]]:
        """Return (latent, cue) of every cue, by latent: each lands on the first chunk border from its position on."""
        placed = [(grid.border(latent_at(e.at, fps)), e) for e in self.cues]
        return sorted(placed, key=lambda item: item[0])

    def chunks(self, grid: TimeGrid, fps: int) -> int:
        """Return the length of the take in chunks, at least one."""
        return max(1, grid.chunks(latent_at(self.length, fps)))

    def dumped(self) -> str:
        """Return the take as YAML, from which `parse` gives an equal take."""
        data = self.model_dump(exclude_defaults=True)
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


@dataclass(frozen=True)
class TakeFile:
    """Hold the takes of a file (one, or one for each story) and notes for a person on its unused fields."""

    name: str
    takes: Sequence[Take]
    notes: Sequence[str] = ()
    prompts_only: bool = False  # whether the times of the cues were not in the file but came from `switch_at`

    def story(self, number: int | None) -> tuple[Take, list[str]]:
        """Return take `number`, from 1, or the first and a note on how many there are; TakeError if there is none."""
        count = len(self.takes)
        if number is not None and not 1 <= number <= count:
            some = "one story" if count == 1 else f"stories 1 to {count}"
            raise TakeError(f"{self.name}: holds {some}, not story {number}")
        notes = list(self.notes)
        if number is None and count > 1:
            notes.append(f"{self.name} holds {count} stories; this is the first, --story 2 or --story all gives others")
        return self.takes[(number or 1) - 1], notes


def parse(text: str, name: str) -> Take:
    """Return a take from YAML; TakeError names the line and the field."""
    read = YamlText(text, name, TEXTS)
    return _validated(read.data, name, read.line)


def load(path: Path, *, model: str = "pocket", switch_at: int = 40, story: int | None = None) -> Take:
    """Return one take of a file, as `read_take_file` reads it: story number `story`, or the first one.

    The notes of the file are logged, such as on unused fields or on more stories.
    """
    take, notes = read_take_file(path, model=model, switch_at=switch_at).story(story)
    for note in notes:
        log.warning("%s", note)
    return take


def read_take_file(path: Path, *, model: str = "pocket", switch_at: int = 40) -> TakeFile:
    """Read a file of takes by its suffix; TakeError says in one line, with file and line, what is wrong with it.

    `.jsonl` (or `.ndjson`) is LongLive's interactive format, a story a line, and `.txt` has one prompt a line; in both
    a new prompt comes every `switch_at` latents, and the take is of `model`. `.json` is a take, or stories as in
    `.jsonl`. Every other suffix is read as YAML.
    """
    text, name, suffix = read_text(path), path.name, path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        stories, notes = stories_of_json_lines(text, name)
    elif suffix == ".txt":
        stories, notes = story_of_text(text, name)
    elif suffix == ".json":
        value = json_value(text, name)
        if not isinstance(value, list) and not (isinstance(value, dict) and value.keys() & set(KEYS)):
            return TakeFile(name, [_validated(value, name, _json_lines(text, name))])
        stories, notes = stories_of_json(value, name)
    else:
        return TakeFile(name, [parse(text, name)])
    return TakeFile(name, [_of_story(s, model, switch_at, name) for s in stories], notes, prompts_only=True)


def _of_story(story: Story, model: str, switch_at: int, name: str) -> Take:
    length = len(story.prompts) * switch_at
    if length > MOST_LATENTS or len(story.prompts) > MOST_CUES:
        raise TakeError(f"{name}:{story.line}: {len(story.prompts)} prompts of {switch_at} latents are too long a take")
    return Take(
        model=model, length=length, cues=[CueLine(at=i * switch_at, prompt=p) for i, p in enumerate(story.prompts)]
    )


def _json_lines(text: str, name: str) -> Callable[[Sequence[object]], int]:
    """Return a function from the path of a field to its line; rare JSON that is not valid YAML gets line 1."""
    try:
        return YamlText(text.replace("\t", " "), name, TEXTS).line
    except TakeError:
        return lambda path: 1


def _validated(data: object, name: str, line: Callable[[Sequence[object]], int]) -> Take:
    if not isinstance(data, dict):
        found = {type(None): "an empty file", list: "a list"}.get(type(data), "a text or a number")
        hint = "" if data is None else "; prompts alone, one a line, go into a .txt file"
        raise TakeError(f"{name}: a take is a mapping with `cues`, not {found}{hint}")
    try:
        take = Take.model_validate(data)
    except ValidationError as e:
        errors = e.errors(include_url=False)
        # a misspelt field is reported as missing too, but its wrong name helps more
        first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
        where = [part for part in first["loc"] if isinstance(part, int) or not re.search(r"\W|^(int|str)$", part)]
        path = ".".join(map(str, where))
        what = complaint(first, Take.model_fields, CueLine.model_fields)
        raise TakeError(f"{name}:{line(where)}: {path + ': ' if path else ''}{what}") from e
    for number, cue in enumerate(take.cues):
        if cue.prompt is not None and cue.landed is None:  # takes of earlier releases hold any parentheses
            where = ["cues", number, "prompt"]
            try:
                parse_emphasis(cue.prompt)
            except ValueError as e:
                raise TakeError(f"{name}:{line(where)}: cues.{number}.prompt: {e}") from e
        # a live take of an earlier release may have both, and has to replay
        if cue.cut and cue.blend > 1 and cue.landed is None:
            where = ["cues", number, "blend"]
            raise TakeError(
                f"{name}:{line(where)}: cues.{number}: a cut leaves nothing to blend from; keep one of them"
            )
    return take
