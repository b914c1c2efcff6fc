"""One encode for all viewers: packets fanned out on one asyncio loop, where a slow viewer slows nobody."""

from __future__ import annotations

import asyncio
from collections import deque

import av

from streaming.live.pacing import TICKS

BACKLOG = TICKS  # of media time that may wait for one viewer: a second
SPACING = TICKS // 2  # between keyframes for lost pictures: a viewer with a bad line must not spoil everybody's


class Viewer:
    """Queues the packets of one viewer: from a keyframe on without a gap, or from a later one if it falls behind."""

    def __init__(self) -> None:
        self.waiting = False  # for a keyframe
        self._packets: deque[av.Packet] = deque()
        self._arrived = asyncio.Event()
        self._follows = False  # the next packet continues what this viewer has
        self._left = False

    async def get(self) -> av.Packet | None:
        """Return the next packet, as soon as there is one; None once the viewer has left or the broadcast is over.

        A viewer without a picture begins to wait for a keyframe here and not when it joins or falls behind: one that
        connects slowly then starts with the present, and one that no longer reads costs the others no keyframe.
        """
        while not self._packets:
            if self._left:
                return None
            self.waiting = not self._follows
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    def offer(self, packet: av.Packet) -> None:
        """Queue a packet, or drop it while the viewer has no keyframe to start with. A full queue is dropped whole."""
        if not self._follows and not (self.waiting and packet.is_keyframe):
            return
        self._follows, self.waiting = True, False
        self._packets.append(packet)
        if packet.pts - self._packets[0].pts > BACKLOG:
            self._packets.clear()
            self._follows = False
        self._arrived.set()

    def end(self) -> None:
        self._left, self.waiting = True, False
        self._packets.clear()
        self._arrived.set()


class Broadcast:
    """Sends packets to all viewers. Everything is called on the loop's thread; nothing here waits."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._lost = False  # a picture, somewhere
        self._newest, self._keyframe = 0, -SPACING  # pts of the last packet and of the last keyframe

    def __len__(self) -> int:
        """Count the viewers."""
        return len(self._viewers)

    @property
    def keyframe_wanted(self) -> bool:
        """Return whether the next picture should be a keyframe; true until one is sent.

        For a viewer who waits at once, for a lost picture when the last keyframe is half a second of media time old.
        """
        if any(viewer.waiting for viewer in self._viewers):
            return True
        return self._lost and self._newest - self._keyframe >= SPACING

    def request_keyframe(self) -> None:
        """Ask for a keyframe, as a viewer's decoder has lost the picture though every packet was sent."""
        self._lost = True

    def join(self) -> Viewer:
        """Add and return a viewer; it has nothing until it asks for its first packet, which will be a keyframe."""
        viewer = Viewer()
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """End a viewer, also while it waits; safe to call again."""
        self._viewers.discard(viewer)
        viewer.end()

    def send(self, packet: av.Packet) -> None:
        """Send a packet to all viewers; its pts is in 90 kHz ticks and grows from packet to packet."""
        self._newest = packet.pts
        if packet.is_keyframe:
            self._keyframe, self._lost = packet.pts, False
        for viewer in self._viewers:
            viewer.offer(packet)

    def close(self) -> None:
        """End the broadcast and every viewer."""
        for viewer in list(self._viewers):
            self.leave(viewer)
