"""Send the packets of one encoder to all viewers on an asyncio loop; a slow viewer slows none of the others."""

from __future__ import annotations

import asyncio
from collections import deque

import av

from streaming.live.pacing import TICKS

BACKLOG = TICKS  # a second of media time that may wait for one viewer
SPACING = TICKS // 2  # between keyframes for lost pictures, so that one bad line does not cost all viewers quality


class Viewer:
    """Queue the packets of one viewer without a gap from a keyframe on, a later one if the viewer falls behind."""

    def __init__(self) -> None:
        """Begin without packets; `Broadcast.join` makes viewers."""
        self.waiting = False  # for a keyframe
        self._packets: deque[av.Packet] = deque()
        self._arrived = asyncio.Event()
        self._follows = False  # whether the next packet continues what this viewer has
        self._left = False

    async def get(self) -> av.Packet | None:
        """Return the next packet as soon as there is one; None after the viewer has left or the broadcast has ended.

        A viewer without a picture asks for a keyframe here, not when it joins or falls behind. So a viewer that
        connects slowly starts with the present, and one that no longer reads costs the others no keyframe.
        """
        while not self._packets:
            if self._left:
                return None
            self.waiting = not self._follows
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    def offer(self, packet: av.Packet) -> None:
        """Queue a packet, or drop it while the viewer lacks a keyframe to begin with. A full queue is dropped whole."""
        if not self._follows and not (self.waiting and packet.is_keyframe):
            return
        self._follows, self.waiting = True, False
        self._packets.append(packet)
        if packet.pts - self._packets[0].pts > BACKLOG:
            self._packets.clear()
            self._follows = False
        self._arrived.set()

    def end(self) -> None:
        """Drop the packets that wait; `get` then returns None."""
        self._left, self.waiting = True, False
        self._packets.clear()
        self._arrived.set()


class Broadcast:
    """Send packets to all viewers. All methods belong to the event loop's thread, and none of them waits."""

    def __init__(self) -> None:
        """Begin without viewers."""
        self._viewers: set[Viewer] = set()
        self._lost = False  # whether a viewer has lost the picture since the last keyframe
        self._newest, self._keyframe = 0, -SPACING  # pts of the last packet and of the last keyframe

    def __len__(self) -> int:
        """Return how many viewers there are."""
        return len(self._viewers)

    @property
    def keyframe_wanted(self) -> bool:
        """Return whether the next picture should be a keyframe, until one is sent.

        A viewer that waits for one gets it at once. A lost picture gets one when the last keyframe is half a second of
        media time old.
        """
        if any(viewer.waiting for viewer in self._viewers):
            return True
        return self._lost and self._newest - self._keyframe >= SPACING

    def request_keyframe(self) -> None:
        """Ask for a keyframe because a viewer's decoder has lost the picture although every packet was sent."""
        self._lost = True

    def join(self) -> Viewer:
        """Add and return a viewer; its first packet will be the first keyframe after it asks for one."""
        viewer = Viewer()
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer and end its wait; safe to call again."""
        self._viewers.discard(viewer)
        viewer.end()

    def send(self, packet: av.Packet) -> None:
        """Queue a packet for all viewers; its pts is in 90 kHz ticks and grows from packet to packet."""
        self._newest = packet.pts
        if packet.is_keyframe:
            self._keyframe, self._lost = packet.pts, False
        for viewer in self._viewers:
            viewer.offer(packet)

    def close(self) -> None:
        """Remove all viewers."""
        for viewer in list(self._viewers):
            self.leave(viewer)
