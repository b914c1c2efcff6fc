"""Connect viewers to a session over WebRTC: one POST with an offer, one answer, no trickle ICE (RFC 8829, RFC 9725)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)

from models.errors import UserError
from streaming.live.session import Session
from streaming.speech.microphone import listen
from streaming.speech.soundtrack import Samples
from streaming.transport.control_channel import ControlChannel
from streaming.transport.tracks import PacketTrack, send_sound, send_video

log = logging.getLogger(__name__)

SDP_LIMIT = 64_000  # characters
CONNECTED_WITHIN = 15.0  # seconds after an answer; a viewer that is not connected by then never will be
BACKLOG = 256 * 1024  # bytes of messages that may wait on a data channel; later ones are dropped, as their numbers show


class OfferError(UserError):
    """Report an offer that cannot be answered."""


class Peer:
    """Connect one viewer over WebRTC; the viewer leaves by itself when the connection is gone."""

    def __init__(self, session: Session, controls: Callable[[], bool] | None = None) -> None:
        """Connect to `session`; `controls` says whether the viewer controls it now (None: the viewer only watches)."""
        self.session, self._controls = session, controls
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._track: PacketTrack | None = None
        self._channel: ControlChannel | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listens = False  # to the viewer's microphone
        self.gone = asyncio.Event()

    async def answer(self, sdp: str) -> str:
        """Return the answer to an SDP offer; OfferError if the offer cannot be answered."""
        if len(sdp) > SDP_LIMIT or not sdp.startswith("v=0"):
            await self.close()
            raise OfferError("this is not an SDP offer")
        self._track = send_video(self.connection, self.session.broadcast)
        if self.session.playout.sound is not None and "\nm=audio" in sdp:
            send_sound(self.connection, self.session.playout.sound, hears=self._controls is not None)
            self.connection.on("track", self._track_offered)
        self.connection.on("datachannel", self._channel_opened)
        self.connection.on("connectionstatechange", self._state_changed)
        try:
            offer = RTCSessionDescription(without_local_names(sdp), "offer")
            await self.connection.setRemoteDescription(offer)
            await self.connection.setLocalDescription(await self.connection.createAnswer())
        except BaseException as e:  # aiortc raises all kinds; a request that is cancelled must leave no viewer behind
            await self.close()
            if not isinstance(e, Exception):
                raise
            log.info("an offer was refused: %r", e)
            raise OfferError("this SDP offer cannot be answered") from e
        if self.gone.is_set():
            raise OfferError("the session has ended")
        self._spawn(self._leave_unless_connected())
        return self.connection.localDescription.sdp

    async def close(self) -> None:
        """Leave the session; safe to call again."""
        if self.gone.is_set():
            return
        self.gone.set()
        if self._channel is not None:
            self._channel.close()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        await self.connection.close()

    async def _state_changed(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            await self.close()

    async def _leave_unless_connected(self) -> None:
        """Leave if no connection comes about: ICE would wait for ever, and the viewer would keep the session alive."""
        await asyncio.sleep(CONNECTED_WITHIN)
        if self.connection.connectionState != "connected":
            await self.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the connection of a viewer lost a part: %r", error)

    # -- microphone -----------------------------------------------------------------------------------------------

    def _track_offered(self, track: MediaStreamTrack) -> None:
        """Listen to the microphone of the viewer that controls an avatar; sound from others is not read."""
        session, avatar, controls = self.session, self.session.avatar, self._controls
        if track.kind != "audio" or avatar is None or controls is None or self._listens or self.gone.is_set():
            return
        self._listens = True

        def hear(sound: Samples) -> None:
            if controls() and not session.over:
                avatar.hear(sound)

        self._spawn(listen(track, hear))

    # -- control --------------------------------------------------------------------------------------------------

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if self._channel is not None or self.gone.is_set():  # a peer has one channel
            channel.close()
            return

        def send(text: str) -> None:
            if channel.readyState == "open" and channel.bufferedAmount < BACKLOG:
                channel.send(text)

        self._channel = ControlChannel(self.session, self._controls, send, self._first_pts)
        channel.on("message", self._channel.receive)
        self._spawn(self._channel.tell_status())

    def _first_pts(self) -> int | None:
        return self._track.first_pts if self._track is not None else None


def without_local_names(sdp: str) -> str:
    """Return the offer without mDNS candidates, which take a second to resolve and are not needed (RFC 8839)."""
    return re.sub(r"a=candidate:[^\r\n]*\.local [^\r\n]*\r?\n", "", sdp)
