"""Count the subjects in frames, so that a ghost, a second one beside the first, is seen.

The world draws a subject in the same colours in every light and weather, so that its sprite is its own template: it is
compared with every place of a frame, and counts where the difference is small. A subject that is cut by the frame's
edge is not counted, and neither is one that something covers for the most part. Of ghosts of half the opacity it finds
every second one. Of the world's own scenes one in twenty has a ground so like its subject that it is counted there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.judge.meters import Frames
from models.pocket.world.motion import SUBJECT_RADIUS
from models.pocket.world.scene import Scene
from models.pocket.world.subjects import FINE, sprite

SIDE = 128  # pixels to which frames are brought
SQUASHES = (1.0, 0.86)  # height of the templates: a subject that bounces is flattened
APART = 1.2  # radii by which two subjects are apart at least
DIFFERENCE = 42.0  # grey levels (root mean square) up to which a place counts: pocket draws softer than the world does

Template = tuple[NDArray[np.float32], NDArray[np.float32]]  # picture [h, w, 3] and where it counts [h, w, 3], 0 … 1


def count(frames: Frames, scene: Scene, colours: Sequence[str] = ()) -> NDArray[np.int64]:
    """Return how many subjects of a scene each frame [n, H, W, 3] shows whole.

    With `colours` subjects of these count, such as those of a source and of the prompt; otherwise those of the scene's.
    """
    templates = [
        template
        for colour in colours or (scene.colour,)
        for template in _templates(scene.subject, colour, scene.size, scene.motion)
    ]
    return np.array([len(_found(_small(frame), templates, SUBJECT_RADIUS[scene.size] * SIDE)) for frame in frames])


def _small(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = (SIDE, SIDE)
    small = frame if frame.shape[:2] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


@lru_cache(maxsize=64)
def _templates(subject: str, colour: str, size: str, motion: str) -> tuple[Template, ...]:
    look = sprite(subject, colour, size, SIDE, facing_left=motion == "left" and subject == "fish")
    alpha = look.paint[..., 3:].astype(np.float32) / 255
    plain = look.paint[..., :3].astype(np.float32) / np.maximum(alpha, 1 / 255)
    rows, columns = np.flatnonzero(look.body.max(1) > 0.5), np.flatnonzero(look.body.max(0) > 0.5)
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    made = []
    for squash in SQUASHES:
        wide, tall = (math.ceil(n / FINE * k) for n, k in ((len(columns), 1 / math.sqrt(squash)), (len(rows), squash)))
        picture, body = (cv2.resize(t[part], (wide, tall), interpolation=cv2.INTER_AREA) for t in (plain, look.body))
        made.append((picture, np.repeat((body > 0.9).astype(np.float32)[..., None], 3, 2)))
    return tuple(made)


def _difference(frame: NDArray[np.float32], template: Template) -> NDArray[np.float32]:
    """Return the difference at every place [SIDE, SIDE] by the template's middle; infinite where it is cut off."""
    picture, mask = template
    h, w = picture.shape[:2]
    squares = cv2.matchTemplate(frame, picture, cv2.TM_SQDIFF, mask=mask)
    out = np.full(frame.shape[:2], np.inf, np.float32)
    top, left = h // 2, w // 2
    out[top : top + squares.shape[0], left : left + squares.shape[1]] = np.sqrt(np.maximum(squares, 0) / mask.sum())
    return out


def _found(frame: NDArray[np.float32], templates: Sequence[Template], radius: float) -> list[tuple[int, int]]:
    """Return the places, row and column, of subjects: the likest first, others only where they are apart from it."""
    difference = np.minimum.reduce([_difference(frame, template) for template in templates])
    places: list[tuple[int, int]] = []
    while True:
        row, column = divmod(int(difference.argmin()), difference.shape[1])
        if difference[row, column] > DIFFERENCE:
            return places
        places.append((row, column))
        cv2.circle(difference, (column, row), math.ceil(APART * radius), math.inf, cv2.FILLED)
