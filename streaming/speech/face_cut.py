"""Choose, for a film that cuts to the speaker of a dialogue, the face of each frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streaming.media.video_writer import Frames

AHEAD = 3  # frames (0.12 s) by which a face is seen before it is heard


class FaceCut:
    """Stay with a face while it is heard, and cut to another one that is heard when it has fallen silent."""

    def __init__(self, faces: int, loud: Callable[[int, int], bool]) -> None:
        """Choose among so many faces; `loud(face, frame)` tells whether a face is heard with a frame of the film."""
        self._faces, self._loud = faces, loud
        self._changes: list[tuple[int, int]] = [(0, 0)]  # (frame, face) from which it is shown, in order

    def of(self, frames: Frames, first: int) -> Frames:
        """Return [n, H, W, 3] of frames [n, H, faces · W, 3] that stand side by side; `first` is the first's number.

        Frames that were chosen before from that number on are chosen anew.
        """
        width = frames.shape[2] // self._faces
        while len(self._changes) > 1 and self._changes[-1][0] >= first:
            self._changes.pop()
        chosen = [self._chosen(first + i) for i in range(len(frames))]
        if not chosen:
            return frames[:, :, :width]
        return np.stack(
            [frame[:, face * width : (face + 1) * width] for frame, face in zip(frames, chosen, strict=True)]
        )

    def _chosen(self, frame: int) -> int:
        face = self._changes[-1][1]
        near = range(frame, frame + AHEAD + 1)
        if not any(self._loud(face, at) for at in near):
            heard = next((other for at in near for other in range(self._faces) if self._loud(other, at)), face)
            if heard != face:
                self._changes.append((frame, heard))
            face = heard
        return face
