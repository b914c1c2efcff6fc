"""Read what a client orders by `/v1/videos`: fields of a form or of a JSON object, checked before anything is stored.

The fields are those of OpenAI's Videos API, which its inventor has given up and other servers still speak, and two of
our own, `seed` and `take`. A field that would not be used is refused.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Request
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from app.errors import UnknownVideoError, UnsupportedError, VideoError, field_name, validation_message
from app.form_file import is_form
from models import catalog
from models.cue import typed_prompt
from models.errors import UserError
from models.generator import SizeError
from models.time_grid import frames_before
from streaming.speech.portrait_file import picture_in
from streaming.take.position import latent_at
from streaming.take.take_file import CueLine, Take, TakeError, parse
from streaming.take.take_loras import lora_names
from streaming.take.take_notes import notes_on, require_drawable

T = TypeVar("T", bound=BaseModel)
MOST_SECONDS = 3600.0  # of one video
MOST_PIXELS = 4  # times those of a model's own size
DEFAULT_SECONDS = "4"  # as the contract has it
BODY_BYTES = 16 << 20  # of an order with its picture
_KEYED = re.compile(r"(\w+)\[(\w+)\]")  # a field of a field, as forms have it
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is yes or no, where a number is needed")
    return value


def _as_text(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Seconds = Annotated[str, Field(max_length=20), BeforeValidator(_as_text)]
Number = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_no_switch)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewVideo(_Fields):
    """The fields with which a video is ordered."""

    prompt: str | None = None  # needed without a take
    model: Annotated[str, Field(max_length=60)] | None = None
    seconds: Seconds | None = None
    size: Annotated[str, Field(max_length=12)] | None = None
    seed: Number | None = None
    take: Annotated[str, Field(max_length=100_000)] | None = None  # YAML
    input_reference: dict[str, str] | None = None


class Remix(_Fields):
    """The fields with which a video is ordered anew under another prompt."""

    prompt: str


class VideoName(_Fields):
    """Name the video that is made longer."""

    id: Annotated[str, Field(max_length=100)]


class Extension(_Fields):
    """The fields with which a video is made longer."""

    prompt: str
    seconds: Seconds = DEFAULT_SECONDS
    video: VideoName


@dataclass(frozen=True)
class Ordered:
    """Hold a take that can be rendered, the prompt and the length as they were asked for, and the first picture."""

    take: Take
    prompt: str
    seconds: str
    picture: bytes | None = None  # PNG of the take's size


async def sent(request: Request, model: type[T]) -> tuple[T, bytes | None]:
    """Return the fields of a request, and its file `input_reference` if it has one; VideoError for anything else."""
    picture: bytes | None = None
    if is_form(request.headers.get("content-type", "")):
        values: dict[str, Any] = {}
        form = await request.form(max_files=1, max_fields=20, max_part_size=BODY_BYTES)
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "input_reference":
                    shown = field_name(name)
                    raise VideoError(f"{shown}: is a file, which is not used here", param=shown)
                picture = await value.read()
            elif keyed := _KEYED.fullmatch(name):
                inner = values.setdefault(keyed[1], {})
                if not isinstance(inner, dict) or keyed[2] in inner:
                    raise VideoError(f"{field_name(keyed[1])}: is there twice", param=field_name(keyed[1]))
                inner[keyed[2]] = value
            elif name in values:
                raise VideoError(f"{field_name(name)}: is there twice", param=field_name(name))
            else:
                values[name] = value
    else:
        try:
            values = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise VideoError("the body is neither a form nor JSON") from None
        if not isinstance(values, dict):
            raise VideoError("the body is JSON, but no object")
    try:
        return model.model_validate(values), picture
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        param = field_name(first["loc"][0]) if first["loc"] else None
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            raise VideoError(
                f"{param}: is not used here; there are {known}", param=param, code="unknown_parameter"
            ) from None
        raise VideoError(validation_message(e)[:300], param=param) from None


def new_order(new: NewVideo, picture: bytes | None) -> Ordered:
    """Return what a new video is to be rendered from; `picture` is the file that came with the order.

    Decoding the picture may take a second. VideoError says what is wrong.
    """
    if new.take is not None:
        return _whole_take(new, picture)
    if new.prompt is None:
        raise VideoError("prompt: is missing", param="prompt")
    entry = _entry(new.model or "pocket")
    seed = secrets.randbelow(2**31) if new.seed is None else new.seed
    asked = new.seconds or DEFAULT_SECONDS
    cue = CueLine(prompt=_prompt(new.prompt))
    length = _latents(asked, entry)
    try:
        take = Take(model=entry.name, seed=seed, size=new.size, length=length, cues=[cue])
    except ValidationError as e:
        raise VideoError(validation_message(e), param="size") from None
    _require_size(take, entry)
    data = _picture_data(new, picture)
    if data is None:
        return Ordered(take, new.prompt, asked)
    return Ordered(take, new.prompt, asked, _png(data, take.width_height(entry.size)))


def with_picture(take: Take, name: str) -> Take:
    """Return a take that begins with the picture in the file `name`."""
    first, *others = take.cues
    return take.model_copy(update={"cues": [first.model_copy(update={"start": name}), *others]})


def remixed(take: Take, prompt: str) -> Take:
    """Return the same take with another first prompt; VideoError if it is none."""
    at = next(number for number, cue in enumerate(take.cues) if cue.prompt is not None)
    cue = take.cues[at].model_copy(update={"prompt": _prompt(prompt)})
    cues = [*take.cues[:at], cue, *take.cues[at + 1 :]]
    return take.with_noise().model_copy(update={"cues": cues, "record": None})


def extended(take: Take, prompt: str, seconds: str) -> tuple[Take, str]:
    """Return a take that goes on with a prompt for `seconds` more, and its length in seconds; VideoError."""
    entry = _entry(take.model)
    grid = entry.rollout.grid
    have = grid.start(take.chunks(grid, entry.fps))  # whole chunks were drawn
    length = have + _latents(seconds, entry)
    total = frames_before(length) / entry.fps
    if total > MOST_SECONDS:
        raise VideoError(f"seconds: the video would have {total:.0f}, and at most {MOST_SECONDS:.0f}", param="seconds")
    cue = CueLine(at=have, prompt=_prompt(prompt))
    changes = {"length": length, "cues": [*take.cues, cue], "record": None}
    return take.with_noise().model_copy(update=changes), f"{total:g}"


def _whole_take(new: NewVideo, picture: bytes | None) -> Ordered:
    others = {"prompt": new.prompt, "model": new.model, "seconds": new.seconds, "size": new.size, "seed": new.seed}
    given = [name for name, value in others.items() if value is not None]
    if picture is not None or new.input_reference is not None:
        given.append("input_reference")
    if given:
        raise VideoError(f"{given[0]}: the take says it already; leave one of them out", param=given[0])
    try:
        take = parse(new.take or "", "take")
    except TakeError as e:
        raise VideoError(str(e), param="take") from None
    named = [take.reference, take.sound, *lora_names(take), *(name for cue in take.cues for name in cue.files())]
    if any(name is not None for name in named):
        raise VideoError("take: names files, and none come with it; leave them out", param="take")
    entry = _entry(take.model)
    _require_size(take, entry)
    try:
        notes_on(take, entry)
    except UserError as e:
        raise VideoError(f"take: {e}", param="take") from None
    total = frames_before(latent_at(take.length, entry.fps)) / entry.fps
    if total > MOST_SECONDS:
        raise VideoError(f"take: is {total:.0f} seconds long, and at most {MOST_SECONDS:.0f} may be", param="take")
    prompt = next(cue.prompt for cue in take.cues if cue.prompt is not None)
    return Ordered(take, prompt, f"{total:g}")


def _entry(name: str) -> catalog.Entry:
    try:
        entry = catalog.find(name)
    except UserError as e:
        raise UnknownVideoError(str(e), param="model", code="model_not_found") from None
    if entry.driving_features is not None:
        raise UnsupportedError(
            f"model: {name} speaks, and an order has no sound; choose a model of scenes", param="model"
        )
    return entry


def _prompt(text: str) -> str:
    try:
        return typed_prompt(text)
    except ValueError as e:
        raise VideoError(f"prompt: {e}", param="prompt") from None


def _latents(seconds: str, entry: catalog.Entry) -> int:
    number = float(seconds) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", seconds, re.ASCII) else 0.0
    if not 0 < number <= MOST_SECONDS:
        raise VideoError(f"seconds: {seconds[:20]!r} is no number of seconds up to {MOST_SECONDS:.0f}", param="seconds")
    return max(1, latent_at(f"{seconds}s", entry.fps))


def _require_size(take: Take, entry: catalog.Entry) -> None:
    width, height = take.width_height(entry.size)
    usual = f"{entry.size[0]}x{entry.size[1]}"
    if width * height > MOST_PIXELS * entry.size[0] * entry.size[1]:
        raise VideoError(f"size {take.size} is too large; {entry.name} draws {usual} by itself", param="size")
    try:
        require_drawable(take, entry)
    except SizeError as e:
        raise VideoError(f"{e}; by itself it draws {usual}", param="size") from None


def _picture_data(new: NewVideo, picture: bytes | None) -> bytes | None:
    """Return the bytes of the picture of an order, wherever they stand; VideoError."""
    given: Mapping[str, str] = new.input_reference or {}
    if picture is not None and given:
        raise VideoError("input_reference: is there twice", param="input_reference")
    if picture is not None or new.input_reference is None:
        return picture
    if set(given) != {"image_url"}:
        raise UnsupportedError(
            "input_reference: send the file itself, or image_url with a data: URL",
            param="input_reference",
            code="unsupported",
        )
    head = _DATA.match(given["image_url"][:100])
    if head is None:  # the server would fetch it from where only the server can
        raise UnsupportedError(
            "input_reference: image_url must be a data: URL (data:image/png;base64,…); others are not fetched",
            param="input_reference",
            code="unsupported",
        )
    try:
        return base64.b64decode(given["image_url"][head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise VideoError("input_reference: its data: URL is no base64", param="input_reference") from None


def _png(data: bytes, size: tuple[int, int]) -> bytes:
    try:
        picture = picture_in(data, size, "input_reference")
    except UserError as e:
        raise VideoError(str(e), param="input_reference") from None
    out = io.BytesIO()
    Image.frombytes("RGB", picture.size, picture.pixels).save(out, "PNG")
    return out.getvalue()
