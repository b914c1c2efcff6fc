"""Give a Pipecat agent a face: a service that speaks through an avatar and tells the agent what was heard of it.

    llm → tts → LongtakeAvatar → assistant context aggregator

Viewers hear and see the avatar from Longtake, by its page, WHEP or WebRTC, so the pipeline needs no output transport of
its own for the avatar's sound. The text of what was heard takes the place of the text that was synthesised, so that the
context of an interrupted agent ends where its listener stopped hearing it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pipecat.audio.resamplers.base_audio_resampler import BaseAudioResampler
from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMAssistantPushAggregationFrame,
    LLMFullResponseEndFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings
from pipecat.utils.text.base_text_aggregator import TextType

from app.client.avatar_session import AvatarSession, Event, LongtakeError, Rate, avatar_sound

RATES: dict[int, Rate] = {16_000: 16_000, 24_000: 24_000, 48_000: 48_000}  # samples a second that an avatar takes
USUAL_RATE: Rate = 24_000  # to which sound of another rate is resampled
PATIENCE = 10.0  # seconds in which an interruption is answered


@dataclass
class HeardTextFrame(SystemFrame, TTSTextFrame):
    """Tell words that were heard; a system frame, so that an interruption behind it does not overtake it."""


@dataclass
class _Spoken:
    """Hold an utterance that was begun and has not ended."""

    name: str
    append_to_context: bool
    words: int = 0  # that were heard and told


class LongtakeAvatar(AIService):
    """Speak an agent's sound through the avatar of a Longtake session, and cut its context at what was heard."""

    def __init__(self, address: str, session: str, key: str) -> None:
        """Use a session that was started at a server, such as `http://127.0.0.1:7860`, and its key."""
        super().__init__(settings=ServiceSettings(model=None))
        self._joining = avatar_sound(address, session, key)
        self._connection = AsyncExitStack()
        self._sound: AvatarSession | None = None
        self._reader: asyncio.Task[None] | None = None
        self._spoken: deque[_Spoken] = deque()
        self._held: list[Frame] = []  # that end the agent's turn, until all of it was heard
        self._text: list[str] = []  # said by the samples that follow
        self._begun: TTSStartedFrame | None = None  # an utterance whose first sample has not come yet
        self._streams = False  # whether an utterance was begun and not committed
        self._resampler: BaseAudioResampler | None = None  # of that utterance, where it needs one
        self._number = 0  # of utterances
        self._speaks = False  # whether something is heard
        self._cut = False  # whether sound that is still on its way to the server belongs to an interrupted utterance
        self._interruption: asyncio.Future[None] | None = None  # done when the one that was asked for has happened
        self._quiet = asyncio.Event()  # set while nothing is spoken or waits
        self._quiet.set()

    # -- frames ---------------------------------------------------------------------------------------------------

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Speak sound, keep what belongs to its end until it was heard, and pass on other frames."""
        await super().process_frame(frame, direction)
        match frame:
            case TTSStartedFrame():
                self._begun = frame
                await self.push_frame(frame, direction)
            case TTSAudioRawFrame():
                await self._say(frame)
            case TTSTextFrame():
                return  # a HeardTextFrame takes its place
            case AggregatedTextFrame(will_be_spoken=True):
                self._text.append(frame.text)
                await self.push_frame(frame, direction)
            case TTSStoppedFrame():
                await self._commit()
                await self.push_frame(frame, direction)
            case InterruptionFrame():
                await self._interrupt()
                await self.push_frame(frame, direction)
            case LLMFullResponseEndFrame() | LLMAssistantPushAggregationFrame() if self._spoken:
                self._held.append(frame)
            case _:
                await self.push_frame(frame, direction)

    async def start(self, frame: StartFrame) -> None:
        """Connect to the session."""
        await super().start(frame)
        try:
            self._sound = await self._connection.enter_async_context(self._joining)
        except LongtakeError as e:
            await self.push_error(error_msg=str(e))
            return
        self._reader = self.create_task(self._read(self._sound))

    async def stop(self, frame: EndFrame) -> None:
        """Wait until all was heard, and disconnect."""
        await super().stop(frame)
        await self._quiet.wait()
        await self._disconnect()

    async def cancel(self, frame: CancelFrame) -> None:
        """Disconnect."""
        await super().cancel(frame)
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._reader is not None:
            await self.cancel_task(self._reader)
            self._reader = None
        self._sound = None
        await self._connection.aclose()

    # -- to the avatar --------------------------------------------------------------------------------------------

    async def _say(self, frame: TTSAudioRawFrame) -> None:
        if self._sound is None:  # that was reported
            return
        if frame.num_channels != 1:
            await self.push_error(error_msg=f"an avatar speaks one channel, and this voice has {frame.num_channels}")
            return
        if not self._streams:
            self._number += 1
            name = f"pipecat-{self._number}"
            self._spoken.append(_Spoken(name, self._begun is None or self._begun.append_to_context))
            self._streams, self._begun, self._cut = True, None, False
            self._quiet.clear()
            fits = frame.sample_rate in RATES
            self._resampler = None if fits else create_stream_resampler(clear_after_secs=None)
            await self._sound.start(utterance=name, rate=RATES.get(frame.sample_rate, USUAL_RATE))
        for text in self._text:
            await self._sound.text(text)
        self._text.clear()
        pcm = frame.audio
        if self._resampler is not None:
            pcm = await self._resampler.resample(pcm, frame.sample_rate, USUAL_RATE)
        await self._sound.write(pcm)

    async def _commit(self) -> None:
        if self._streams and self._sound is not None:
            self._streams = False
            if self._resampler is not None:
                await self._sound.write(await self._resampler.flush())
            await self._sound.commit()

    async def _interrupt(self) -> None:
        """Silence the avatar, and return once the words that were heard until then are told."""
        self._text.clear()
        self._held.clear()
        self._streams = False
        if not self._spoken or self._sound is None:
            return
        self._interruption = asyncio.get_running_loop().create_future()
        try:
            await self._sound.interrupt()
            await asyncio.wait_for(self._interruption, PATIENCE)
        except TimeoutError:
            await self.push_error(error_msg=f"the avatar did not answer an interruption within {PATIENCE:g} s")
        except LongtakeError as e:
            await self.push_error(error_msg=str(e))
        finally:
            self._interruption = None

    # -- from the avatar ------------------------------------------------------------------------------------------

    async def _read(self, sound: AvatarSession) -> None:
        try:
            async for event in sound.events():
                await self._take_in(event)
            lost = "the avatar's session has ended"
        except LongtakeError as e:
            lost = str(e)
        self._sound = None
        if self._spoken:
            await self.push_error(error_msg=lost)
            self._spoken.clear()
            await self._all_heard()

    async def _take_in(self, event: Event) -> None:
        match event["type"]:
            case "utterance.started":
                await self._speak(speaks=True)
            case "utterance.spoken":
                await self._heard(event)
            case "utterance.ended":
                await self._heard(event)
                if event["why"] != "interrupted":  # that event has all that it ends
                    await self._ended(event["utterance"])
            case "interrupted":
                await self._interrupted(event)
            case "refused" if not self._cut:
                await self.push_error(error_msg=f"the avatar refused a sound: {event['why']}")

    async def _heard(self, part: Event) -> None:
        """Tell the words of an utterance that were heard since the last time."""
        spoken = next((s for s in self._spoken if s.name == part["utterance"]), None)
        words = part["text"].split()
        if spoken is None or len(words) <= spoken.words:
            return
        frame = HeardTextFrame(" ".join(words[spoken.words :]), text_type=TextType.WORD)
        frame.append_to_context = spoken.append_to_context
        spoken.words = len(words)
        await self.push_frame(frame)

    async def _ended(self, name: str) -> None:
        self._spoken = deque(s for s in self._spoken if s.name != name)
        if not self._spoken:
            await self._all_heard()

    async def _all_heard(self) -> None:
        """Tell that nothing is heard any more, and end the turn if the agent has."""
        await self._speak(speaks=False)
        held, self._held = self._held, []
        for frame in held:
            await self.push_frame(frame)
        self._quiet.set()

    async def _interrupted(self, event: Event) -> None:
        """Tell what was heard; an interruption by a listener's voice or a page interrupts the agent as well."""
        for part in event["heard"]:
            await self._heard(part)
        spoke, self._spoken = bool(self._spoken), deque()
        self._streams, self._cut = False, True
        await self._speak(speaks=False)
        self._quiet.set()
        if self._interruption is not None:
            if not self._interruption.done():
                self._interruption.set_result(None)
        elif spoke:
            self._held.clear()
            self._text.clear()
            await self.broadcast_interruption()

    async def _speak(self, *, speaks: bool) -> None:
        """Tell the pipeline, as an output transport does, that the agent begins or ends to be heard."""
        if speaks is not self._speaks:
            self._speaks = speaks
            await self.broadcast_frame(BotStartedSpeakingFrame if speaks else BotStoppedSpeakingFrame)
