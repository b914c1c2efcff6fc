"""Record what a live take is given of its session's camera, so that a render of the take equals it."""

from __future__ import annotations

from collections.abc import Callable

from models.source import Following
from models.time_grid import frames_before
from streaming.live.camera_footage import CameraFootage
from streaming.live.take_writer import TakeWriter
from streaming.media.ingest import Camera
from streaming.take.camera_record import SUFFIX, RecordError, record_name
from streaming.take.history import TakeHistory
from streaming.take.picture_cue import CAMERA
from streaming.take.take_file import CueLine
from streaming.transport.events import Event, WarningEvent


class CameraRecording:
    """Keep a record for each stretch over which a take follows the camera, and name it in the cue that began it."""

    def __init__(
        self,
        camera: Camera | None,
        size: tuple[int, int],
        latents_ahead: int,
        writer: TakeWriter,
        tell: Callable[[Event], None],
    ) -> None:
        """Record what a take of `size` (width, height) is given of `camera`; without a camera nothing is recorded.

        The model reads its source `latents_ahead` latents ahead of what it has drawn.
        """
        self.footage = CameraFootage(camera, size) if camera is not None else None
        self._ahead, self._writer, self._tell = latents_ahead, writer, tell
        self._lost = False

    def recorded(self, take: str, following: Following | None, landed: list[CueLine]) -> list[CueLine]:
        """Record what was read for the newest chunk; return its landed cues with the record's name."""
        if self.footage is None or following is None or following.source != CAMERA:
            return landed
        if self.footage.lost and not self._lost:
            self._tell(WarningEvent(why="the camera has gone: its last picture is held until one is connected"))
        self._lost = self.footage.lost
        name = record_name(take, following.since)
        if not all(self._writer.camera(name, read.frame, read.given) for read in following.read):
            return landed
        return [e.model_copy(update={"source": name}) if e.source == CAMERA else e for e in landed]

    def copy(self, left: TakeHistory, branch: TakeHistory, at: int) -> None:
        """Begin the records of a branch with what those of the take `left` have before latent `at`.

        A record that is damaged stays the old one, and a warning is told.
        """
        names: dict[str, str] = {}
        for cue in branch.landed:
            if cue.landed is not None and cue.source == record_name(left.id, cue.landed):
                own = record_name(branch.id, cue.landed)
                frames = frames_before(at + self._ahead) - frames_before(cue.landed)
                try:
                    self._writer.copy_camera(cue.source, own, frames)
                except RecordError as e:
                    self._tell(WarningEvent(why=f"{e}; the take cannot be rendered again"))
                else:
                    names[cue.source] = own
        branch.landed = [cue.with_names(names) for cue in branch.landed]

    def ends(self, following: Following | None) -> bool:
        """Return whether a take, which goes on live now, follows a record that has ended; a warning is told then."""
        if following is None or not following.source.endswith(SUFFIX):
            return False
        self._tell(WarningEvent(why="the record of the camera ends here: follow the camera anew"))
        return True
