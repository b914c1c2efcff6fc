"""Define the commands that a viewer may send to a running take, on the data channel, the WebSocket and the HTTP API.

`docs/events.md` and `app/page/types.d.ts` are generated from these models and those of the events
(`python -m streaming.transport.describe`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from models.cue import MOST_SCALE, Setting, typed_prompt
from models.errors import UserError
from streaming.live.pacing import LookAhead
from streaming.speech.barge_in import BargeIn
from streaming.speech.speech_queue import MicrophoneUse
from streaming.take.picture_cue import FileName, Fit
from streaming.take.position import MOST_LATENTS
from streaming.take.take_file import CueLine

MESSAGE_LIMIT = 16_384  # bytes of a message


class ControlError(UserError):
    """Refuse a command: a line for a person, and the number of the command if it could be read."""

    def __init__(self, text: str, number: int | None = None) -> None:
        """Refuse the command `number` with this line of text."""
        super().__init__(text)
        self.number = number


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    id: Annotated[int, Field(ge=0, lt=2**53)]
    """Number of the command, chosen by its sender; events about the command repeat it."""


class PromptCommand(_Command):
    """Change the prompt at the next chunk or at a later one: at once, over several chunks, or with a cut."""

    type: Literal["prompt"]
    text: Annotated[str, Field(min_length=1, max_length=4000)]
    blend: Annotated[int, Field(ge=1, le=64)] = 1
    """Chunks over which the new prompt takes over."""
    cut: bool = False
    """Begin a new scene, which shares nothing with the picture before."""
    at: Annotated[int, Field(ge=0, le=MOST_LATENTS)] | None = None
    """Latent at which it lands: on the first chunk from there on, for which no other may wait. Absent: the next."""
    replaces: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Number of a command whose prompt has not landed and is taken back for this one."""

    @field_validator("text")
    @classmethod
    def _usable(cls, value: str) -> str:
        return typed_prompt(value)

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(prompt=self.text, blend=self.blend, cut=self.cut)


class PrepareCommand(_Command):
    """Encode the text of a prompt that may follow soon, such as that of a slot; the take does not change."""

    type: Literal["prepare"]
    text: Annotated[str, Field(min_length=1, max_length=4000)]

    @field_validator("text")
    @classmethod
    def _usable(cls, value: str) -> str:
        return typed_prompt(value)


class SeedCommand(_Command):
    """Draw with other noise from the next chunk on."""

    type: Literal["seed"]
    seed: Annotated[int, Field(ge=0, lt=2**63)]

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(seed=self.seed)


class SetCommand(_Command):
    """Change a setting of the rollout from the next chunk on."""

    type: Literal["set"]
    name: Setting
    value: Annotated[str, Field(max_length=40)]

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(set={self.name: self.value})


class StartCommand(_Command):
    """Begin a new scene at the next chunk with an image or with the end of a film that was uploaded."""

    type: Literal["start"]
    file: FileName
    """Name of the file, as the upload answered it."""
    by: Literal["pin", "prefix"] | None = None
    """How an image is begun with; the model has a default."""
    fit: Fit = "crop"

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(start=self.file, start_by=self.by, fit=self.fit)


class SourceCommand(_Command):
    """Follow a film that was uploaded or a camera from the next chunk on, or change how the present one is followed."""

    type: Literal["source"]
    source: FileName | None = None
    """Name of the file, `camera`, or `none` to follow nothing any more; absent: the present source."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far the picture may leave the source."""
    region: Annotated[str, Field(max_length=200)] | None = None
    """Part that is drawn, such as `25%, 25%, 50%, 50%` (left, top, width, height), or the name of a mask."""
    fit: Fit = "crop"

    @model_validator(mode="after")
    def _usable(self) -> SourceCommand:
        self.cue_line()
        return self

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for; ValueError if its fields do not go together."""
        return CueLine(source=self.source, strength=self.strength, region=self.region, fit=self.fit)


class RecallCommand(_Command):
    """Bring back the scene that stood at a latent, as it was at its end."""

    type: Literal["recall"]
    latent: Annotated[int, Field(ge=0)]

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(recall=self.latent)


class LoraCommand(_Command):
    """Merge a LoRA with another scale from the next chunk on; 0 takes it out, and others keep theirs."""

    type: Literal["lora"]
    name: Annotated[str, Field(min_length=1, max_length=400)]
    """One of the names that the hello event lists in `loras`, or the name with which an upload was answered."""
    scale: Annotated[float, Field(ge=-MOST_SCALE, le=MOST_SCALE)]
    """Factor of its changes, counted in ten thousandths."""

    def cue_line(self) -> CueLine:
        """Return the cue that the command asks for."""
        return CueLine(lora=[f"{self.name}:{round(self.scale, 4):.4f}".rstrip("0").rstrip(".")])


class RewindCommand(_Command):
    """Go back to a latent that is still held; the take branches there."""

    type: Literal["rewind"]
    latent: Annotated[int, Field(ge=0)]
    """A latent not before the status event's `oldest`, or 0 for the start."""


class TakeBackCommand(_Command):
    """Take back the cue of a command that has not landed."""

    type: Literal["take_back"]
    cue: Annotated[int, Field(ge=0, lt=2**53)]
    """Number of the command."""


class LookAheadCommand(_Command):
    """Choose how far ahead of the playhead chunks are drawn."""

    type: Literal["look_ahead"]
    value: LookAhead

    @field_validator("value", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return LookAhead(value) if isinstance(value, str) and value in list(LookAhead) else value


class SlotCommand(_Command):
    """Ask the page that controls the session to play the prompt that it keeps in a slot, as a fader or key would."""

    type: Literal["slot"]
    slot: Annotated[int, Field(ge=1, le=9)]


class PlainCommand(_Command):
    """Pause, resume, undo the newest cue, record, stop recording, end the take, or interrupt an avatar."""

    type: Literal["pause", "resume", "undo", "record", "stop_recording", "end", "interrupt"]


class MicrophoneCommand(_Command):
    """Choose what the microphone of the viewer that controls an avatar is used for."""

    type: Literal["microphone"]
    use: MicrophoneUse

    @field_validator("use", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return MicrophoneUse(value) if isinstance(value, str) and value in list(MicrophoneUse) else value


class BargeInCommand(_Command):
    """Choose what the voice of a listener does to an avatar that speaks."""

    type: Literal["barge_in"]
    policy: BargeIn

    @field_validator("policy", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return BargeIn(value) if isinstance(value, str) and value in list(BargeIn) else value


CueCommand = PromptCommand | SeedCommand | SetCommand | StartCommand | SourceCommand | RecallCommand | LoraCommand
AvatarCommand = MicrophoneCommand | BargeInCommand
OtherCommand = (
    PrepareCommand | RewindCommand | TakeBackCommand | LookAheadCommand | AvatarCommand | SlotCommand | PlainCommand
)
Command = CueCommand | OtherCommand
COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])


def parse(message: str | bytes) -> Command:
    """Read a command from JSON of at most MESSAGE_LIMIT bytes; ControlError for anything else."""
    if len(message.encode(errors="replace") if isinstance(message, str) else message) > MESSAGE_LIMIT:
        raise ControlError(f"a message has at most {MESSAGE_LIMIT} bytes")
    try:
        command = COMMANDS.validate_json(message)
        if isinstance(command, CueCommand):
            command.cue_line()  # has limits of its own, such as the last latent that a take may have
        return command
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(p) for p in first["loc"][1:])
        raise ControlError((f"{field}: " if field else "") + first["msg"].removeprefix("Value error, ")) from None
    except (ValueError, RecursionError) as e:
        raise ControlError(str(e).splitlines()[0][:200]) from None


def permitted(command: Command, controls: Callable[[], bool] | None) -> None:
    """Raise ControlError unless the sender of the command controls the session now.

    `controls` says so for a connection that was given control; it is None for a connection that only watches.
    """
    if controls is None:
        raise ControlError("this link only watches", command.id)
    if not controls():
        raise ControlError("another window controls this session now; reload this one to take it back", command.id)
