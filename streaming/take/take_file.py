"""The take file: a linear run as YAML that a person can read, with what its cues landed on.

model: pocket
seed: 7
length: 20s
cues:
  - prompt: a red ball bounces over the meadow by day
  - at: 6s
    prompt: a blue fish drifts right over the sea by day
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.cue import RESERVED, Cue, Cut, Hush, Parameter, Prompt, Seed
from models.errors import UserError
from models.generator import SizeError
from models.time_grid import TimeGrid, latent_of


class TakeError(UserError):
    """Report, in one line for a person, a take that cannot be used."""


def _position(value: Any) -> Any:
    """Check a position: a whole number of latents, or seconds such as `12s` or `1.5s`."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("give latents as a whole number or seconds such as 12s")
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?s", value):
        raise ValueError(f"{value!r} is neither a whole number of latents nor seconds such as 12s")
    if isinstance(value, int) and value < 0:
        raise ValueError("must not be negative")
    return value


Position = Annotated[int | str, BeforeValidator(_position)]


def latent_at(position: int | str, fps: int) -> int:
    """Return the latent that a position means: a whole number, or seconds such as `1.5s` of a frame that it shows."""
    if isinstance(position, int):
        return position
    return latent_of(float(position[:-1]) * fps)


def size_of(text: str) -> tuple[int, int]:
    """Return width and height in pixels of a text such as `128x96`; SizeError for anything else."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise SizeError(f"{text!r} is not a size such as 128x128")
    width, height = text.split("x")
    return int(width), int(height)


class CueLine(BaseModel):
    """Says what happens at a position of a take: at least one of prompt, cut, seed, set and hush."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    at: Position = 0
    """Where it was asked for: a latent, or seconds such as `12s`."""
    prompt: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    blend: Annotated[int, Field(ge=1, le=64)] = 1
    """Chunks over which the prompt takes over."""
    cut: bool = False
    """Whether the take begins a new scene: nothing of the picture before is remembered."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """New noise from here on."""
    set: dict[str, str] = Field(default_factory=dict)
    """Settings of the rollout that change, by name."""
    hush: Annotated[int, Field(ge=0)] | None = None
    """Frame of the take after which an avatar was interrupted."""
    landed: Annotated[int, Field(ge=0)] | None = None
    """First latent of the chunk on which the cue took effect; filled in by the rollout."""

    @model_validator(mode="before")
    @classmethod
    def _reserved(cls, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name in RESERVED:
                raise ValueError(f"{name}: {RESERVED[name]} is not yet possible")
        return data

    @field_validator("set")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, setting in value.items():
            Parameter(name, setting)  # type: ignore[arg-type]
        return value

    @model_validator(mode="after")
    def _does_something(self) -> CueLine:
        if self.prompt is None and not self.cut and self.seed is None and not self.set and self.hush is None:
            raise ValueError("a cue needs a prompt, cut, seed, set or hush")
        if self.blend > 1 and self.prompt is None:
            raise ValueError("blend goes with a prompt")
        return self

    def cues(self) -> list[Cue]:
        """Return what the line does, in the order in which it applies: settings, cut, seed, hush, prompt."""
        cues: list[Cue] = [Parameter(name, value) for name, value in self.set.items()]  # type: ignore[arg-type]
        cues += [Cut()] if self.cut else []
        cues += [Seed(self.seed)] if self.seed is not None else []
        cues += [Hush(self.hush)] if self.hush is not None else []
        return cues + ([Prompt(self.prompt, self.blend)] if self.prompt is not None else [])


Beside = Annotated[str, Field(pattern=r"[\w-]{1,60}\.(png|wav)")]  # a file in the take's own folder


class Take(BaseModel):
    """Describes a linear run: model, seed, size, length and cues; for an avatar also its portrait and its sound."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = "pocket"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    size: str | None = None
    length: Position = "20s"
    parent: str | None = None
    reference: Beside | None = None
    sound: Beside | None = None
    cues: list[CueLine]
    record: dict[str, Any] | None = None

    @field_validator("size")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            size_of(value)
        return value

    @model_validator(mode="after")
    def _opens(self) -> Take:
        if not any(e.prompt is not None and e.at in (0, "0s") for e in self.cues):
            raise ValueError("cues: the first cue needs a prompt at 0")
        if self.sound is None and any(e.hush is not None for e in self.cues):
            raise ValueError("cues: hush takes back what was heard; the take names no sound")
        return self

    def width_height(self, default: tuple[int, int]) -> tuple[int, int]:
        if self.size is None:
            return default
        return size_of(self.size)

    def landing(self, grid: TimeGrid, fps: int) -> list[tuple[int, CueLine]]:
        """Return (first latent, cue) of every cue: it lands on the first chunk border from its position on."""
        placed = [(grid.border(latent_at(e.at, fps)), e) for e in self.cues]
        return sorted(placed, key=lambda item: item[0])

    def chunks(self, grid: TimeGrid, fps: int) -> int:
        """Return how many chunks the take is long, at least one."""
        return max(1, grid.chunks(latent_at(self.length, fps)))

    def dumped(self) -> str:
        return yaml.safe_dump(self.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True, width=120)


def parse(text: str, name: str) -> Take:
    """Return a take from YAML; TakeError names the line and the field."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise TakeError(f"{where}: not valid YAML ({getattr(e, 'problem', None) or str(e).splitlines()[0]})") from e
    except (ValueError, RecursionError) as e:
        raise TakeError(f"{name}: not valid YAML ({str(e).splitlines()[0][:120]})") from e
    if not isinstance(data, dict):
        raise TakeError(f"{name}: a take is a mapping with `cues`, not {type(data).__name__}")
    try:
        return Take.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(
            str(p) for p in first["loc"] if not str(p).startswith(("function", "constrained", "int", "str"))
        )
        message = first["msg"].removeprefix("Value error, ")
        line = _line_of(text, list(first["loc"]))
        raise TakeError(f"{name}:{line}: {field + ': ' if field else ''}{message}") from e


def _line_of(text: str, path: list[Any]) -> int:
    """Return the line of the field at `path`, or of the nearest field around it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def load(path: Path, *, model: str = "pocket", switch_at: int = 40) -> Take:
    """Read a take from a file: YAML, LongLive's interactive JSONL, or text with one prompt a line.

    In the latter two a new prompt comes every `switch_at` latents.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
        raise TakeError(f"{path}: cannot be read ({reason})") from e
    if path.suffix == ".jsonl":
        return _from_prompts(_jsonl_prompts(text, path.name), model, switch_at, path.name)
    if path.suffix == ".txt":
        return _from_prompts([line.strip() for line in text.splitlines() if line.strip()], model, switch_at, path.name)
    return parse(text, path.name)


def _jsonl_prompts(text: str, name: str) -> list[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise TakeError(f"{name}:{number}: not valid JSON ({e})") from e
        prompts = data.get("prompts") if isinstance(data, dict) else None
        if prompts is None and isinstance(data, dict):
            prompts = data.get("prompts_list")
        if not isinstance(prompts, list) or not all(isinstance(p, str) and p.strip() for p in prompts) or not prompts:
            raise TakeError(f"{name}:{number}: prompts_list: needs a list of prompts")
        return prompts
    raise TakeError(f"{name}: holds no line")


def _from_prompts(prompts: list[str], model: str, switch_at: int, name: str) -> Take:
    if not prompts:
        raise TakeError(f"{name}: holds no prompt")
    cues = [CueLine(at=i * switch_at, prompt=p) for i, p in enumerate(prompts)]
    return Take(model=model, length=len(prompts) * switch_at, cues=cues)
