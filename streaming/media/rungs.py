"""Choose bitrate and frame rate of an encode for a line: first fewer bits a frame, then fewer frames.

No frame can be left out of an encode that others receive whole: x264 without delay makes no frames that later ones do
not refer to (only B frames, which wait for their successor and are not Baseline), and it has no temporal layers. So
fewer frames means an encode that is given fewer frames, and from a shared encode only keyframes can be picked.
"""

from __future__ import annotations

from dataclasses import dataclass

PACKET = 60  # bytes of headers of a packet: IPv4, UDP, RTP with extensions, SRTP's tag
SHARE = 0.9  # of a line that the film takes; the rest is for repairs, and lets what waits after a keyframe drain
HEADERS = 0.25  # of a line that headers may take, or fewer frames are sent
COARSEST = 16  # a frame has at least this part of its bits on a good line, or fewer frames are sent
EVERY = (1, 2, 4, 8)  # of how many frames one is sent
UP = 1.3  # times what a higher frame rate needs, before it is tried


@dataclass(frozen=True)
class Rung:
    """Say how an encode is made: its bits a second, and of how many frames one is encoded."""

    bitrate: int  # of the encoded frames together
    every: int


def rung_for(line: float, bitrate: int, fps: int, present: int = 1) -> Rung | None:
    """Return how to encode a film of `bitrate` bits and `fps` frames a second for a line of so many bits a second.

    `present` is one of how many frames is encoded now; a higher frame rate needs a margin. None where the line does not
    even carry one frame of eight: it is sent keyframes only.
    """
    for every in EVERY:
        carried = line / UP if every < present else line
        headers = 8 * PACKET * fps / every
        if headers <= HEADERS * carried and carried - headers >= bitrate / COARSEST / every:
            return Rung(min(bitrate, round(SHARE * line - headers)), every)
    return None
