"""Send the packets of a film's encodes to all viewers on an asyncio loop; a slow viewer slows none of the others.

There is one encode for all viewers, and lower ones where lines are slow: `streaming.media.encodes` makes them.
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
SPACING = TICKS // 2  # between keyframes that viewers of an encode ask for, as they cost all of them quality
AT_ONCE = 4  # keyframes that may be asked for as soon as SPACING allows
RECOVERY = 2 * TICKS  # after which one more may be, so that viewers who come and go all the time do not bring more
SLOW_SPACING = 2 * TICKS  # between those that a slow line asks for: a keyframe takes much of what it carries
KEYFRAMES_EVERY = 3 * TICKS  # media time between pictures where only keyframes are sent


@dataclass(eq=False)
class Source:
    """Hold what is common to the viewers of one encode."""

    newest: int = 0  # pts of the last frame of the film
    keyframe: int = -KEYFRAMES_EVERY  # pts of the last keyframe
    every: int = 1  # of how many frames one is sent
    _spent: int = 0  # ticks until all keyframes are recovered from

    def reach(self, pts: int) -> None:
        """Note that the film has come to a frame, whether it is encoded or not."""
        self._spent = max(0, self._spent - max(0, pts - self.newest))
        self.newest = pts

    def sent(self, packet: av.Packet) -> None:
        """Note a packet."""
        self.reach(packet.pts)
        if packet.is_keyframe:
            self.keyframe = packet.pts
            self._spent = min(self._spent, (AT_ONCE - 1) * RECOVERY) + RECOVERY

    @property
    def recovered(self) -> bool:
        """Return whether a keyframe may be sent because a viewer asks for it."""
        return self.newest - self.keyframe >= SPACING and self._spent <= (AT_ONCE - 1) * RECOVERY


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

        One that waits to begin, or has lost the picture, gets it once the encode has recovered from former keyframes;
        one on a slow line that has lost the picture when the last keyframe is two seconds of media time old.
        """
        age = self.source.newest - self.source.keyframe
        if self.sparse:
            return self.waiting and age >= KEYFRAMES_EVERY
        slow = self.line is not None and age < SLOW_SPACING
        return self.source.recovered and (self.waiting or (self._lost and not self._held and not slow))

    @property
    def misses_picture(self) -> bool:
        """Return whether the viewer has no picture, or has lost it, whenever the next keyframe may come."""
        return not self.sparse and (self.waiting or (self._lost and not self._held))

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
        self.full = Source()
        self._viewers: dict[Viewer, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        """Return how many viewers there are."""
        return len(self._viewers)

    def of(self, source: Source) -> list[Viewer]:
        """Return the viewers of an encode."""
        return [viewer for viewer in self._viewers if viewer.source is source]

    @property
    def viewers(self) -> list[Viewer]:
        """Return all viewers, in the order in which they came."""
        return list(self._viewers)

    @property
    def picture_missed(self) -> bool:
        """Return whether any viewer has no picture, or has lost it."""
        return any(viewer.misses_picture for viewer in self._viewers)

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
        self._viewers[viewer] = None
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer and end its wait; safe to call again."""
        self._viewers.pop(viewer, None)
        viewer.end()

    def send(self, packet: av.Packet, source: Source | None = None) -> None:
        """Queue a packet for the viewers of an encode (None: the full one).

        Its pts is in 90 kHz ticks and grows from packet to packet.
        """
        source = source or self.full
        source.sent(packet)
        for viewer in self.of(source):
            viewer.offer(packet)

    def close(self) -> None:
        """Remove all viewers."""
        for viewer in list(self._viewers):
            self.leave(viewer)
