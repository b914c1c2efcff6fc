"""Define the events that the server sends to a viewer, on the data channel, the WebSocket and in the HTTP API.

`docs/events.md` and `app/page/types.d.ts` are generated from these models and those of the commands
(`python -m streaming.transport.describe`). A page reads the events as JSON objects that `type` tells apart.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from streaming.live.pacing import LookAhead
from streaming.live.session_state import AvatarState, SessionState
from streaming.speech.barge_in import BargeIn
from streaming.speech.speech_queue import MicrophoneUse
from streaming.speech.utterance import EndReason
from streaming.speech.voice_activity import Detector
from streaming.take.take_file import CueLine


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str

    def wire(self) -> dict[str, Any]:
        """Return the event as a JSON object: its type, and the fields that were given."""
        return {"type": self.type, **self.model_dump(mode="json", exclude={"type"}, exclude_unset=True)}


class HelloEvent(_Event):
    """Opens a connection: identifies the session and describes its film."""

    type: Literal["hello"] = "hello"
    session: str
    """Identifies the session."""
    controls: bool
    """Permission to send commands; without it this connection only watches."""
    model: str
    """Name of the model in the catalog."""
    fps: int
    """Frames a second of the film."""
    chunk: int
    """Latents that are drawn together."""
    first_chunk: int
    """Latents of a take's first chunk."""
    phase: SessionState
    sound: bool
    """Presence of sound in the film."""
    loras: list[str]
    """LoRAs that the command `lora` may name."""
    speakers: list[str] = Field(default_factory=list)
    """Speakers of a dialogue, in the order of their faces; empty elsewhere."""


class CueToCome(BaseModel):
    """Describe a prompt that waits for its latent."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: int
    """Number of the command that asked for it."""
    prompt: str
    at: int
    """Latent that was asked for: it lands on the first chunk from there on."""
    blend: int
    cut: bool


class TimelineEvent(_Event):
    """Lists the cues of the present take; sent at the start, when cues land or wait, and when the take branches."""

    type: Literal["timeline"] = "timeline"
    take: str
    """Identifies the take: 12 hexadecimal digits."""
    parent: str | None
    """The take and the latent from which this one branches, as `id@latent`."""
    cues: list[CueLine]
    to_come: list[CueToCome] = Field(default_factory=list)
    """Prompts that wait for a latent, by latent; they are no part of the take before they land."""

    @field_validator("cues")
    @classmethod
    def _without_defaults(cls, value: list[CueLine]) -> list[CueLine]:
        return [CueLine.model_validate(cue.model_dump(exclude_defaults=True)) for cue in value]


class KnotFigures(BaseModel):
    """Summarise how far the newest 500 chunks were from the knots that were fused into them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    median: float
    max: float
    leaned: int
    """How many of them leaned to the new prediction."""


class CameraStatus(BaseModel):
    """Tells what a connected camera sends; each field is null until a picture has told it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    width: int | None
    """Pixels."""
    height: int | None
    """Pixels."""
    fps: float | None
    """Pictures a second by the times that the camera gives them, over the newest 60."""
    age_ms: int | None
    """Milliseconds since the newest picture arrived."""


PublishingState = Literal["waiting", "connecting", "live", "lost", "refused"]


class StatusEvent(_Event):
    """Tells twice a second where a session is and what it measures."""

    type: Literal["status"] = "status"
    phase: SessionState
    latent: int
    """Latents drawn so far."""
    catching_up: int | None
    """The latent at which a continued take begins to be seen, while its past is drawn anew."""
    playhead: int
    """First latent of the chunk on screen."""
    oldest: int | None
    """The earliest latent to which one can go back, apart from the start."""
    held_mb: int
    """Megabytes of snapshots that are held to go back to."""
    generated_fps: float | None
    """Frames a second that the device could make; null before the first chunks."""
    buffer_ms: int
    """Milliseconds of film that are drawn and not yet shown."""
    prompt_ms: list[int] | None
    """Milliseconds from a command to its first frame: the newest, the median, the 95th percentile."""
    knots: KnotFigures | None
    viewers: int
    look_ahead: LookAhead
    recorded_s: float | None
    """Seconds of the recording that is running; null if none is."""
    camera: CameraStatus | None = None
    """The camera that is connected to the session; null if none is."""
    publishing: PublishingState | None = None
    """How the film is published, as the newest event of the kind told; absent where it is not published."""
    first_pts: int | None = None
    """Media time (90 kHz) of the first packet on this WebRTC connection, as RTP counts from a random number."""
    state: AvatarState | None = None
    """What an avatar does; only an avatar has this and the fields that follow."""
    use: MicrophoneUse | None = None
    """What the microphone is used for."""
    barge_in: BargeIn | None = None
    """What the voice of a listener does to an avatar that speaks."""
    detector: Detector | None = None
    """What detects the voice of a listener."""
    epoch: int | None = None
    """Interruptions so far."""
    level: int | None = None
    """Level of the microphone, dBFS."""
    to_say_s: float | None = None
    """Seconds of sound that wait to be spoken."""
    speaking: list[str] | None = None
    """Speakers of a dialogue that are heard now."""
    held_frames: int | None = None
    """Frames so far for which the picture stood still while the voice went on."""
    dropped_frames: int | None = None
    """Pictures so far that came too late to be shown."""


class AcceptedEvent(_Event):
    """Answers a command that will be obeyed."""

    type: Literal["accepted"] = "accepted"
    id: int
    """Number of the command."""


class RefusedEvent(_Event):
    """Answers a command that will not be obeyed; after `accepted` it says that a prompt's text cannot be encoded."""

    type: Literal["refused"] = "refused"
    id: int | None
    """Number of the command; null if the message could not be read that far."""
    why: str
    """The reason, in a line for a person."""
    utterance: str | None = None
    """On the socket of an avatar's sound, the utterance that is refused, or takes no more samples; absent elsewhere."""


class EncodedEvent(_Event):
    """Tells that the text of a prompt is encoded and its switch will not wait for that."""

    type: Literal["encoded"] = "encoded"
    id: int
    """Number of the command."""
    not_understood: dict[str, list[str]]
    """Words that the model does not know, each with known words that are near in meaning."""
    notes: list[str] = Field(default_factory=list)
    """What else a person should know: how synonyms and negations were read, and what cannot be shown."""


class LiveEvent(_Event):
    """Tells on which chunk a cue landed, after that chunk is drawn."""

    type: Literal["live"] = "live"
    id: int
    """Number of the command."""
    latent: int
    """First latent of the chunk."""
    frame: int
    """Number of its first frame, counted in released frames; times 90000 / fps this is the frame's media time."""


class ShownEvent(_Event):
    """Tells that the first frame of a cue was sent."""

    type: Literal["shown"] = "shown"
    id: int
    """Number of the command."""
    frame: int
    """Number of the frame, counted in released frames."""


class TakenBackEvent(_Event):
    """Tells that a cue which had not landed was taken back, replaced, or gave way to a newer one on the same chunk."""

    type: Literal["taken_back"] = "taken_back"
    id: int
    """Number of the command whose cue it was."""


class SlotEvent(_Event):
    """Asks the page that controls the session to play the prompt that it keeps in a slot."""

    type: Literal["slot"] = "slot"
    slot: int
    """Number of the slot, 1 to 9."""


class WarningEvent(_Event):
    """Tells a person of a problem; the session goes on."""

    type: Literal["warning"] = "warning"
    why: str


class PublishingEvent(_Event):
    """Tells how the film is published to the receiver of `longtake serve --publish-to`."""

    type: Literal["publishing"] = "publishing"
    state: PublishingState
    """`waiting`: another session is published to the same address. `lost`: it is offered again later. `refused`: it is
    not, in this session."""
    why: str
    """The reason, in a line for a person; empty where there is none."""
    retry_s: float | None = None
    """Seconds after which it is offered again; null where it is not."""


class RecordingEvent(_Event):
    """Tells that a recording began or ended."""

    type: Literal["recording"] = "recording"
    name: str
    """The recording's file beside the take, without its suffix."""
    on: bool
    """True when it begins, false when it has ended."""
    why: str = ""
    """Why a recording ended by itself, else empty; absent when a recording begins."""


class PhaseEvent(_Event):
    """Tells that the session has entered another state."""

    type: Literal["phase"] = "phase"
    phase: SessionState
    why: str
    """The reason of a failure, else empty."""


class AvatarEvent(_Event):
    """Tells that an avatar begins to speak, to listen or to be idle.

    It speaks from the first sound that is sent to viewers on; `utterance.started` tells when that is heard there.
    """

    type: Literal["avatar"] = "avatar"
    state: AvatarState
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent where the state is that of all, and elsewhere."""


class ListenerEvent(_Event):
    """Tells that somebody begins or ends to speak into the microphone of an avatar's session."""

    type: Literal["listener"] = "listener"
    speaks: bool


class HeardPart(BaseModel):
    """Tells how much of an utterance was heard."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    utterance: str
    sample: int
    """Samples that were heard, at the rate of the utterance."""
    seconds: float
    text: str
    """What its captions say up to there; of the last one as many words as its share of the time."""


class InterruptedEvent(_Event):
    """Tells that an avatar was interrupted."""

    type: Literal["interrupted"] = "interrupted"
    frame: int
    """Number of the first silent frame, counted in released frames."""
    epoch: int
    """Interruptions so far; speech that was asked for in an earlier epoch is stale."""
    why: str
    heard: list[HeardPart] = Field(default_factory=list)
    """The utterances that this ended, in order, with what was heard of each."""
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


class QueuedEvent(_Event):
    """Answers the start of an utterance on the socket of an avatar's sound."""

    type: Literal["queued"] = "queued"
    utterance: str
    rate: int
    """Samples a second of the sound that follows."""


class CommittedEvent(_Event):
    """Answers the commit of an utterance on the socket of an avatar's sound: all of it has arrived."""

    type: Literal["committed"] = "committed"
    utterance: str
    sample: int
    """Samples that have arrived, at the rate of the utterance."""


class UtteranceStartedEvent(_Event):
    """Tells that the first sample of an utterance is heard."""

    type: Literal["utterance.started"] = "utterance.started"
    utterance: str
    rate: int
    """Samples a second in which positions in it are told."""
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


class UtteranceSpokenEvent(_Event):
    """Tells four times a second how far an utterance was heard, by what was sent and the viewers' receiver reports."""

    type: Literal["utterance.spoken"] = "utterance.spoken"
    utterance: str
    sample: int
    """Samples that were heard, at the rate of the utterance."""
    seconds: float
    text: str
    """What its captions say so far."""
    viewers: int
    """Viewers that are connected by WebRTC; without any, what was played counts as heard."""
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


class UtteranceEndedEvent(_Event):
    """Tells that nothing more of an utterance is heard, and why.

    `lost`: its sender, or the voice that read it, was gone before all of it had arrived, and what had is heard.
    """

    type: Literal["utterance.ended"] = "utterance.ended"
    utterance: str
    sample: int
    """Samples that were heard, at the rate of the utterance."""
    seconds: float
    text: str
    """What its captions say up to there."""
    why: EndReason
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


class CaptionEvent(_Event):
    """Tells what is said from now on, as the text of `/say` or the sender of the sound gives it."""

    type: Literal["caption"] = "caption"
    utterance: str
    text: str
    seconds: float
    """Seconds of the utterance before it."""
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


class SlowEvent(_Event):
    """Tells that an avatar's picture begins or ceases to stand still at times, because drawing is too slow here.

    Its voice goes on in time meanwhile.
    """

    type: Literal["slow"] = "slow"
    slow: bool
    held: float
    """Share of the newest five seconds in which the picture stood still."""


class MetersEvent(_Event):
    """Tells how well an avatar's mouth follows its sound and how well its face holds, every two seconds."""

    type: Literal["meters"] = "meters"
    identity: float
    """Cosine of the face's and the portrait's embeddings: 1 is the portrait itself."""
    sync: float | None
    """Correlation of mouth and sound; null where too little was said."""
    lag_ms: int | None
    """Milliseconds by which the mouth lags behind the sound; null where too little was said."""
    speaker: str | None = None
    """Name of the speaker in a dialogue; absent elsewhere."""


LineState = Literal["clear", "reduced", "thinned", "keyframes", "lost"]


class LineEvent(_Event):
    """Tells how this connection's film follows its line: when its state changes, and its figures every two seconds."""

    type: Literal["line"] = "line"
    state: LineState
    """`clear`: the whole film. `reduced`: fewer bits a frame. `thinned`: fewer frames as well. `keyframes`: a picture
    every few seconds. `lost`: nothing arrives; the film goes on with the present once the line is back."""
    kbit: int | None
    """Kilobits a second that the line seems to carry; null while no limit was seen."""
    loss: int
    """Per cent of the packets that were lost lately."""
    fps: float
    """Frames a second that are sent."""


class CodecEvent(_Event):
    """Precedes the fragmented MP4 of a WebSocket: names the codecs of the binary messages that follow."""

    type: Literal["codec"] = "codec"
    codec: str
    """The codecs as MediaSource takes them, such as `avc1.42c01e,opus` (RFC 6381)."""


Event = (
    HelloEvent
    | TimelineEvent
    | StatusEvent
    | AcceptedEvent
    | RefusedEvent
    | EncodedEvent
    | LiveEvent
    | ShownEvent
    | TakenBackEvent
    | SlotEvent
    | WarningEvent
    | PublishingEvent
    | RecordingEvent
    | PhaseEvent
    | AvatarEvent
    | ListenerEvent
    | InterruptedEvent
    | QueuedEvent
    | CommittedEvent
    | UtteranceStartedEvent
    | UtteranceSpokenEvent
    | UtteranceEndedEvent
    | CaptionEvent
    | SlowEvent
    | MetersEvent
    | LineEvent
    | CodecEvent
)
EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
