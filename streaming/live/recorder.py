"""Record a playout into files beside the take, one recording at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from streaming.live.playout import Playout
from streaming.media.live_recording import LiveRecording, RecordingError
from streaming.transport.events import Event, RecordingEvent

log = logging.getLogger(__name__)

LAST_FRAGMENT_SECONDS = 5.0  # that the disk has for what waits when a session is closed


class Recorder:
    """Begin and end recordings of a playout. The stream goes on whatever becomes of a recording."""

    def __init__(self, playout: Playout, tell: Callable[[Event], None]) -> None:
        """Record `playout`; `tell` gets an event when a recording begins and when it ends."""
        self._playout, self._tell = playout, tell
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float | None:
        """Return the seconds of the recording that is running; None if there is none."""
        recording = self._playout.recording
        return round(recording.seconds, 1) if recording is not None else None

    def begin(self, path: Path) -> None:
        """Record into a new file from the next keyframe on; ValueError if a recording is running."""
        playout = self._playout
        if playout.recording is not None:
            raise ValueError("it is being recorded already")
        size, sound = (playout.picture_width, playout.picture_height), playout.sound is not None
        playout.recording = LiveRecording(path, *size, playout.fps, sound=sound)
        self._task = asyncio.get_running_loop().create_task(self._run(playout.recording))

    def end(self) -> None:
        """Have the recording write what waits and end; ValueError if there is none."""
        if self._playout.recording is None:
            raise ValueError("nothing is being recorded")
        self._playout.recording.end()

    async def close(self) -> None:
        """End the recording if there is one, and wait until its last fragment is written or the disk was too slow."""
        if self._task is None:
            return
        if self._playout.recording is not None:
            self._playout.recording.end()
        await asyncio.wait([self._task], timeout=LAST_FRAGMENT_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, recording: LiveRecording) -> None:
        name, why = recording.path.stem, ""
        self._tell(RecordingEvent(name=name, on=True))
        try:
            await recording.run()
        except RecordingError as e:
            why = str(e)
        except Exception as e:
            log.exception("a recording failed")
            why = f"the recording stopped: {type(e).__name__}; what is written plays"
        finally:
            self._playout.recording = None
        self._tell(RecordingEvent(name=name, on=False, why=why))
