"""What a viewer may ask of a running take: numbered messages as JSON, the same on the data channel, the socket and HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from models.cue import Cue, Parameter, Setting
from streaming.live.pacing import LookAhead
from streaming.speech.speech_queue import MicrophoneUse
from streaming.take.take_file import CueLine

MESSAGE_LIMIT = 16_384  # bytes


class ControlError(Exception):
    """A message that cannot be obeyed; one line for a person, and the number of the message if it had one."""

    def __init__(self, text: str, number: int | None = None) -> None:
        super().__init__(text)
        self.number = number


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[int, Field(ge=0, lt=2**53)]


class PromptCommand(_Command):
    """The take turns: at the next chunk, over `blend` chunks, or with a cut."""

    type: Literal["prompt"]
    text: Annotated[str, Field(min_length=1, max_length=4000)]
    blend: Annotated[int, Field(ge=1, le=64)] = 1
    cut: bool = False

    @field_validator("text")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a prompt must not be empty")
        return value

    def entry(self) -> CueLine:
        return CueLine(prompt=self.text, blend=self.blend, cut=self.cut)


class PrepareCommand(_Command):
    """Encode a text that may be asked for soon, such as that of a slot; nothing lands."""

    type: Literal["prepare"]
    text: Annotated[str, Field(min_length=1, max_length=4000)]


class SeedCommand(_Command):
    """New noise from the next chunk on."""

    type: Literal["seed"]
    seed: Annotated[int, Field(ge=0, lt=2**63)]

    def entry(self) -> CueLine:
        return CueLine(seed=self.seed)


class SetCommand(_Command):
    """A setting of the rollout takes another value."""

    type: Literal["set"]
    name: Setting
    value: Annotated[str, Field(max_length=40)]

    def entry(self) -> CueLine:
        return CueLine(set={self.name: self.value})


class RewindCommand(_Command):
    """Back to a latent that is still held; the take branches there."""

    type: Literal["rewind"]
    latent: Annotated[int, Field(ge=0)]


class LookAheadCommand(_Command):
    type: Literal["look_ahead"]
    value: LookAhead

    @field_validator("value", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return LookAhead(value) if isinstance(value, str) and value in list(LookAhead) else value


class PlainCommand(_Command):
    """pause, resume, undo the newest cue, record what is shown, stop recording, end the take, or interrupt an avatar."""

    type: Literal["pause", "resume", "undo", "record", "stop_recording", "end", "interrupt"]


class MicrophoneCommand(_Command):
    """What the microphone of whoever controls an avatar does."""

    type: Literal["microphone"]
    use: MicrophoneUse

    @field_validator("use", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return MicrophoneUse(value) if isinstance(value, str) and value in list(MicrophoneUse) else value


CueCommand = PromptCommand | SeedCommand | SetCommand
Command = CueCommand | PrepareCommand | RewindCommand | LookAheadCommand | MicrophoneCommand | PlainCommand
_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])


def parse(message: str | bytes) -> Command:
    """A command from JSON; ControlError for anything else, whatever it may be."""
    if len(message) > MESSAGE_LIMIT:
        raise ControlError(f"a message has at most {MESSAGE_LIMIT} bytes")
    try:
        command = _COMMANDS.validate_json(message)
        if isinstance(command, SetCommand):
            Parameter(command.name, command.value)
        return command
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(p) for p in first["loc"][1:])
        raise ControlError((f"{field}: " if field else "") + first["msg"].removeprefix("Value error, ")) from None
    except (ValueError, RecursionError) as e:
        raise ControlError(str(e).splitlines()[0][:200]) from None


def permitted(command: Command, controls: Callable[[], bool] | None) -> None:
    """ControlError if whoever sent this may not control the session, or no longer."""
    if controls is None:
        raise ControlError("this link only watches", command.id)
    if not controls():
        raise ControlError("another window controls this session now; reload this one to take it back", command.id)


def merged(waiting: list[CueLine]) -> list[CueLine]:
    """What lands when several cues wait for one chunk: of prompts and of seeds the newest, a cut if any asks for one."""
    kept: list[CueLine] = []
    for entry in waiting:
        if entry.prompt is not None:
            cut = entry.cut or any(k.cut for k in kept)
            kept = [k for k in kept if k.prompt is None]
            kept.append(entry.model_copy(update={"cut": cut}))
        elif entry.seed is not None:
            kept = [k for k in kept if k.seed is None or k.prompt is not None] + [entry]
        else:
            kept.append(entry)
    return kept


def cues_of(entries: list[CueLine]) -> list[Cue]:
    return [cue for entry in entries for cue in entry.cues()]
