"""Draw hair of the portrait world: the part behind the head and the part in front of it."""

from __future__ import annotations

import math

import numpy as np

from models.pocket.world.portrait.canvas import Canvas, Points, disc, mixed, smooth
from models.pocket.world.portrait.face import Colour
from models.pocket.world.portrait.head import Head

# hairlines in head units from right to left, on the surface of the face
_LINES: dict[str, list[tuple[float, float]]] = {
    "short": [(0.97, 0.0), (0.86, -0.5), (0.5, -0.66), (0.0, -0.62), (-0.5, -0.66), (-0.86, -0.5), (-0.97, 0.0)],
    "parted": [(0.98, 0.02), (0.9, -0.42), (0.66, -0.52), (0.2, -0.62), (-0.42, -0.9), (-0.78, -0.62), (-0.97, 0.0)],
    "spiky": [
        (0.97, -0.02),
        (0.84, -0.56),
        (0.55, -0.56),
        (0.3, -0.74),
        (0.0, -0.56),
        (-0.3, -0.74),
        (-0.55, -0.56),
        (-0.84, -0.56),
        (-0.97, -0.02),
    ],
    "curly": [(0.98, 0.0), (0.84, -0.46), (0.5, -0.62), (0.0, -0.56), (-0.5, -0.62), (-0.84, -0.46), (-0.98, 0.0)],
    "bob": [
        (1.0, 0.4),
        (0.92, 0.0),
        (0.84, -0.3),
        (0.6, -0.46),
        (0.0, -0.44),
        (-0.6, -0.46),
        (-0.84, -0.3),
        (-0.92, 0.0),
        (-1.0, 0.4),
    ],
    "long": [(1.0, 0.42), (0.86, -0.1), (0.6, -0.52), (0.0, -0.88), (-0.6, -0.52), (-0.86, -0.1), (-1.0, 0.42)],
    "bun": [(0.97, -0.1), (0.84, -0.52), (0.45, -0.76), (0.0, -0.82), (-0.45, -0.76), (-0.84, -0.52), (-0.97, -0.1)],
}

COVERS_EARS = frozenset({"bob", "long"})


class Look:
    """Hold the colours of a head's hair and skin."""

    def __init__(self, hair: Colour, skin: Colour) -> None:
        self.hair = hair
        self.hair_dark = mixed(hair, (24, 10, 30), 0.25)
        self.hair_light = mixed(hair, (255, 244, 224), 0.24)
        self.skin = skin


def hair_behind(canvas: Canvas, head: Head, style: str, look: Look) -> None:
    """Draw the hair behind the head and in front of the shoulders' back."""
    w = head.width
    back = -0.35 * math.sin(0.4 * head.pose.turn)  # hair behind the head swings the other way

    def fall(points: list[tuple[float, float]]) -> None:
        curve = smooth(np.array(points) * np.array([w, 1.0]))
        canvas.fill(head.flat(curve + np.array([back, 0])), look.hair_dark)

    if style == "bob":
        fall(
            [
                (-1.13, -0.3),
                (-1.2, 0.4),
                (-1.1, 0.98),
                (-0.6, 1.06),
                (0.6, 1.06),
                (1.1, 0.98),
                (1.2, 0.4),
                (1.13, -0.3),
                (0.7, -1.0),
                (-0.7, -1.0),
            ]
        )
    elif style == "long":
        fall(
            [
                (-1.1, -0.4),
                (-1.18, 0.5),
                (-1.3, 1.3),
                (-1.32, 2.1),
                (1.32, 2.1),
                (1.3, 1.3),
                (1.18, 0.5),
                (1.1, -0.4),
                (0.7, -1.0),
                (-0.7, -1.0),
            ]
        )
    elif style == "curly":
        for x, y in _curls():
            canvas.fill(head.flat(disc(x * w + back, y, 0.34, 0.34)), look.hair_dark)
    elif style == "bun":
        canvas.fill(head.flat(disc(back, -1.28, 0.4, 0.36)), look.hair_dark)
        canvas.fill(head.flat(disc(back + 0.03, -1.32, 0.27, 0.22)), look.hair)


def _curls() -> list[tuple[float, float]]:
    return [(1.02 * math.cos(a), 0.98 * math.sin(a) - 0.05) for a in np.linspace(0.86 * math.pi, 2.14 * math.pi, 11)]


def hair_in_front(canvas: Canvas, head: Head, style: str, look: Look) -> None:
    """Draw the cap of hair on the skull down to its hairline, or a bald head's highlight."""
    if style == "bald":
        canvas.fill(head.at_depth(disc(0.3, -0.82, 0.22, 0.09), 0.7), mixed(look.skin, (255, 255, 255), 0.28))
        return
    line = np.array(_LINES[style]) * np.array([head.width, 1.0])
    edge = head.on_face(smooth(line, closed=False))
    edge[[0, -1]] = head.flat(line[[0, -1]])  # at the temples hair stays on the silhouette
    canvas.fill(np.concatenate([_crown(head, style), edge]), look.hair)
    if style == "curly":
        for x, y in _curls()[2:-2:2]:
            canvas.fill(head.flat(disc(0.84 * x * head.width, 0.9 * y, 0.24, 0.2)), look.hair_light)
        return
    gloss = smooth(np.array([(0.12, -0.99), (0.42, -0.93), (0.66, -0.76), (0.62, -0.68), (0.38, -0.82), (0.12, -0.88)]))
    canvas.fill(head.at_depth(gloss * np.array([head.width, 1.0]), 0.3), look.hair_light)


def _crown(head: Head, style: str) -> Points:
    """Return the outer edge of the cap of hair, from left to right over the top."""
    if style == "spiky":
        angle = np.linspace(math.pi * 1.02, math.pi * 1.98, 19)
        reach = np.where(np.arange(19) % 2 == 1, 1.3, 1.06)
        return head.flat(np.stack([head.width * reach * np.cos(angle), 1.08 * reach * np.sin(angle)], 1))
    return head.skull(1.1 if style in ("parted", "curly") else 1.07)
