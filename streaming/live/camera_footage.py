"""Give a take the pictures of a session's camera, as many as a chunk has, whatever rate the camera has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streaming.media.film_reader import Frames, fitted
from streaming.media.ingest import Camera


class CameraFootage:
    """Give the pictures that have arrived since the chunk before, spread evenly over the frames of the next one.

    All that have arrived are used up, so that a take never falls behind its camera. Where none has, the last picture is
    held (grey before the first one), so that a take never waits for its camera.
    """

    def __init__(self, camera: Camera, size: tuple[int, int]) -> None:
        """Give pictures of `size` (width, height), cropped around their middle."""
        self._camera, self._size = camera, size
        self._seen = float("-inf")  # time of the newest picture that was given
        self._held: Frames = np.full((size[1], size[0], 3), 128, np.uint8)
        self.lost = False  # whether the newest chunk got no picture, as no camera is connected

    def frames(self, source: str, first: int, count: int) -> Tensor:
        """Return RGB frames [count, H, W, 3] uint8; `source` and `first` make no difference."""
        arrived = self._camera.since(self._seen)
        self.lost = not arrived and not self._camera.connected
        if not arrived:
            return torch.from_numpy(np.stack([self._held] * count))
        self._seen = arrived[-1].time
        chosen = np.linspace(0, len(arrived) - 1, count).round().astype(int)
        pictures = {int(i): fitted(arrived[i].picture(), self._size) for i in np.unique(chosen)}
        self._held = pictures[len(arrived) - 1]
        return torch.from_numpy(np.stack([pictures[int(i)] for i in chosen]))
