"""Send the packets of one encoder to all viewers on an asyncio loop; a slow viewer slows none of the others.

Viewers whose lines are slow take the packets of a second, lower encode while others take the first. There is one lower
encode for all slow viewers, and only while there are both kinds: `streaming.media.encodes` makes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import av

from streaming.live.pacing import TICKS

BACKLOG = TICKS  # a second of media time that may wait for one viewer
SLOW_BACKLOG = 3 * TICKS // 4  # for a viewer on a slow line, where sending what waits takes long
BEHIND = TICKS // 4  # that waits for a slow line, from which no further picture is encoded for it
SPACING = TICKS // 2  # between keyframes for lost pictures, so that one bad line does not cost all viewers quality
SLOW_SPACING = 2 * TICKS  # between those that a slow line asks for: a keyframe takes much of what it carries
KEYFRAMES_EVERY = 3 * TICKS  # media time between pictures where only keyframes are sent


@dataclass(eq=False)
class Source:
    """Hold what is common to the viewers of one encode."""

    newest: int = 0  # pts of the last packet
    keyframe: int = -KEYFRAMES_EVERY  # pts of the last keyframe
    every: int = 1  # of how many frames one is sent


class Viewer:
    """Queue the packets of one viewer without a gap from a keyframe on, a later one if the viewer falls behind."""

    def __init__(self, source: Source) -> None:
        """Begin without packets; `Broadcast.join` makes viewers."""
        self.line: float | None = None  # bits a second that may be sent on the viewer's line; None: no limit
        self.sparse = False  # whether the line is sent keyframes only, some seconds apart
        self.source = source
        self._packets: deque[av.Packet] = deque()
        self._arrived = asyncio.Event()
        self._follows = False  # whether the next packet continues what this viewer has
        self._asks = False  # whether the viewer waits for a packet now
        self._left = self._lost = self._held = False

    def __len__(self) -> int:
        """Return how many packets wait."""
        return len(self._packets)

    async def get(self) -> av.Packet | None:
        """Return the next packet as soon as there is one; None after the viewer has left or the broadcast has ended.

        A viewer without a picture asks for a keyframe here, not when it joins or falls behind. So a viewer that
        connects slowly starts with the present, and one that no longer reads costs the others no keyframe.
        """
        while not self._packets:
            if self._left:
                return None
            self._asks = True
            self._arrived.clear()
            try:
                await self._arrived.wait()
            finally:
                self._asks = False
        return self._packets.popleft()

    @property
    def waiting(self) -> bool:
        """Return whether the viewer waits for a keyframe to begin with."""
        return self._asks and not self._follows and not self._held and not self._left

    @property
    def wants_keyframe(self) -> bool:
        """Return whether the next picture of the viewer's encode should be a keyframe.

        One that waits gets it at once; one that has lost the picture when the last keyframe is half a second of media
        time old, on a slow line two seconds.
        """
        age = self.source.newest - self.source.keyframe
        if self.sparse:
            return self.waiting and age >= KEYFRAMES_EVERY
        return self.waiting or (
            self._lost and not self._held and age >= (SPACING if self.line is None else SLOW_SPACING)
        )

    @property
    def held(self) -> bool:
        """Return whether the viewer is sent nothing."""
        return self._held

    @property
    def behind(self) -> bool:
        """Return whether more pictures wait for the viewer's line than it carries at once."""
        return len(self._packets) > 1 and self.source.newest - self._packets[0].pts >= BEHIND

    def request_keyframe(self) -> None:
        """Ask for a keyframe because the viewer's decoder has lost the picture although every packet was sent."""
        self._lost = True

    def hold(self, *, held: bool) -> None:
        """Send nothing, while the line carries nothing; afterwards go on with the present."""
        if held != self._held:
            self._held, self._follows = held, False
            self._packets.clear()

    def take(self, source: Source) -> None:
        """Go on with the packets of another encode, from a keyframe of it on; what waits is still sent."""
        if source is not self.source:
            self.source, self._follows = source, False

    def offer(self, packet: av.Packet) -> None:
        """Queue a packet, or drop it while the viewer lacks a keyframe to begin with. A full queue is dropped whole."""
        if self._held:
            return
        if packet.is_keyframe:
            self._lost = False
        if not self._follows and not (self.waiting and packet.is_keyframe):
            return
        self._follows = not self.sparse
        self._packets.append(packet)
        if packet.pts - self._packets[0].pts > (BACKLOG if self.line is None else SLOW_BACKLOG):
            self._packets.clear()
            self._follows = False
        self._arrived.set()

    def end(self) -> None:
        """Drop the packets that wait; `get` then returns None."""
        self._left = True
        self._packets.clear()
        self._arrived.set()


class Broadcast:
    """Send packets to all viewers. All methods belong to the event loop's thread, and none of them waits."""

    def __init__(self) -> None:
        """Begin without viewers."""
        self.full, self.lower = Source(), Source()
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        """Return how many viewers there are."""
        return len(self._viewers)

    def of(self, source: Source) -> list[Viewer]:
        """Return the viewers of an encode."""
        return [viewer for viewer in self._viewers if viewer.source is source]

    @property
    def keyframe_wanted(self) -> bool:
        """Return whether the next picture of any encode should be a keyframe, until one is sent."""
        return any(viewer.wants_keyframe for viewer in self._viewers)

    def wants_keyframe(self, source: Source) -> bool:
        """Return whether the next picture of an encode should be a keyframe."""
        return any(viewer.wants_keyframe for viewer in self.of(source))

    def join(self) -> Viewer:
        """Add and return a viewer; its first packet will be the first keyframe after it asks for one."""
        viewer = Viewer(self.full)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer and end its wait; safe to call again."""
        self._viewers.discard(viewer)
        viewer.end()

    def send(self, packet: av.Packet, source: Source | None = None) -> None:
        """Queue a packet for the viewers of an encode (None: the full one).

        Its pts is in 90 kHz ticks and grows from packet to packet.
        """
        source = source or self.full
        source.newest = packet.pts
        if packet.is_keyframe:
            source.keyframe = packet.pts
        for viewer in self.of(source):
            viewer.offer(packet)

    def close(self) -> None:
        """Remove all viewers."""
        for viewer in list(self._viewers):
            self.leave(viewer)
