"""Hold the newest pictures of a camera, for a take that follows them.

Pictures arrive on the event loop as fast as the camera sends them, and are used on the device thread as fast as chunks
are drawn. Between the two lies a queue of a few pictures in which a newer one displaces the oldest, so that what is
drawn is near to the present, whatever the speeds are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from streaming.live.clock import MONOTONIC, Clock

Picture = NDArray[np.uint8]  # [H, W, 3] RGB

HELD = 16  # pictures that wait at most: a second at the usual frame rate of a take
MOST_PIXELS = 1920 * 1088  # of a picture; larger ones are refused
RATE_FRAMES = 60  # pictures over which the frame rate is measured


@dataclass(frozen=True)
class CameraFrame:
    """Hold one picture of a camera as it was decoded."""

    time: float  # seconds of the camera's clock (monotonic) at which it arrived
    decoded: av.VideoFrame

    def picture(self) -> Picture:
        """Return the picture [H, W, 3] in RGB; each call converts it, about 2 ms at 1280x720."""
        return cast("Picture", self.decoded.to_ndarray(format="rgb24"))


@dataclass(frozen=True)
class CameraFigures:
    """Summarise what a connected camera sends; None stands for what no picture has told yet."""

    width: int | None
    height: int | None
    fps: float | None
    age: float | None  # seconds since the newest picture arrived


class CameraFeed:
    """Pass on the pictures of one connection, until it is closed or another connection takes its place."""

    def __init__(self, camera: Camera) -> None:
        """Belong to `camera`; `Camera.connect` makes feeds."""
        self._camera = camera

    def put(self, decoded: av.VideoFrame) -> None:
        """Add a picture as the newest one; ValueError if it has more than MOST_PIXELS. A replaced feed adds nothing."""
        if decoded.width * decoded.height > MOST_PIXELS:
            raise ValueError(f"a camera's picture of {decoded.width}x{decoded.height} is too large")
        self._camera.receive(self, decoded)

    @property
    def replaced(self) -> bool:
        """Return whether another connection has taken the place of this one, or this one is closed."""
        return not self._camera.fed_by(self)

    def close(self) -> None:
        """Disconnect the camera, unless another connection has taken its place; safe to call again."""
        self._camera.disconnect(self)


class Camera:
    """Hold the newest pictures of the camera that is connected to a session, if one is.

    `latest` and `since` may be called from any thread; all else belongs to the event loop.
    """

    def __init__(self, clock: Clock = MONOTONIC) -> None:
        """Begin without a camera; times are those of `clock`."""
        self._clock = clock
        self._frames: deque[CameraFrame] = deque(maxlen=HELD)
        self._media_times: deque[float] = deque(maxlen=RATE_FRAMES)  # as the camera gave them, in seconds
        self._feed: CameraFeed | None = None
        self._arrived = asyncio.Event()

    def connect(self) -> CameraFeed:
        """Return the feed of a new connection, which takes the place of an earlier one; its pictures are dropped."""
        self._forget()
        self._feed = CameraFeed(self)
        return self._feed

    @property
    def connected(self) -> bool:
        """Return whether a camera is connected, even if no picture of it has arrived yet."""
        return self._feed is not None

    def latest(self) -> CameraFrame | None:
        """Return the newest picture; None while there is none, or no camera is connected."""
        frames = list(self._frames)  # one step for other threads
        return frames[-1] if frames else None

    def since(self, time: float) -> list[CameraFrame]:
        """Return the pictures that are held and arrived after this time, the oldest first."""
        return [frame for frame in list(self._frames) if frame.time > time]

    async def frames(self) -> AsyncIterator[CameraFrame]:
        """Give the pictures from the newest one on, in the order of their times, until the camera is disconnected.

        A caller that is slow misses pictures: it always gets the newest one next.
        """
        feed, seen = self._feed, float("-inf")
        while feed is not None and self._feed is feed:
            newest = self.latest()
            if newest is None or newest.time <= seen:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            seen = newest.time
            yield newest

    def figures(self) -> CameraFigures | None:
        """Return what the connected camera sends; None if none is connected."""
        if self._feed is None:
            return None
        newest = self.latest()
        if newest is None:
            return CameraFigures(None, None, None, None)
        times = self._media_times
        span = times[-1] - times[0] if times else 0
        fps = round((len(times) - 1) / span, 1) if span > 0 else None
        age = max(0.0, self._clock() - newest.time)
        return CameraFigures(newest.decoded.width, newest.decoded.height, fps, age)

    # -- for feeds ------------------------------------------------------------------------------------------------

    def fed_by(self, feed: CameraFeed) -> bool:
        """Return whether pictures of this feed are the camera's."""
        return self._feed is feed

    def receive(self, feed: CameraFeed, decoded: av.VideoFrame) -> None:
        """Add a picture of a feed, unless another one has taken its place."""
        if self._feed is not feed:
            return
        now = self._clock()
        if self._frames and now <= self._frames[-1].time:  # on a clock of coarse steps; no two pictures share a time
            now = float(np.nextafter(self._frames[-1].time, np.inf))
        self._frames.append(CameraFrame(now, decoded))
        if decoded.time is not None:
            self._media_times.append(decoded.time)
        self._arrived.set()

    def disconnect(self, feed: CameraFeed) -> None:
        """End a feed, unless another one has taken its place."""
        if self._feed is feed:
            self._feed = None
            self._forget()

    def _forget(self) -> None:
        self._frames.clear()
        self._media_times.clear()
        self._arrived.set()
