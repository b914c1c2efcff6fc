"""Describe the identities of the portrait world, and the pose of a face in one frame.

A face is a point in a small space of attributes, as a scene is in the pocket world; a pose holds everything that moves.
Hair style × hair colour pairs in `HELD_OUT` occur in no training, so that generalisation to unseen faces can be
measured for a model and for a reader.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import NamedTuple

Colour = tuple[int, int, int]  # RGB

SKIN: dict[str, Colour] = {
    "porcelain": (255, 225, 206),
    "peach": (248, 200, 168),
    "honey": (226, 168, 122),
    "olive": (196, 146, 98),
    "brown": (146, 94, 62),
    "deep": (96, 60, 44),
}
HAIR: dict[str, Colour] = {
    "black": (44, 38, 46),
    "brown": (112, 68, 42),
    "blond": (238, 196, 96),
    "ginger": (212, 98, 40),
    "silver": (196, 200, 210),
    "pink": (232, 108, 160),
}
EYES: dict[str, Colour] = {
    "hazel": (116, 72, 36),
    "blue": (52, 126, 214),
    "green": (54, 148, 84),
    "grey": (118, 130, 146),
}
CLOTHES: dict[str, Colour] = {
    "red": (212, 66, 62),
    "yellow": (246, 196, 60),
    "green": (62, 152, 96),
    "blue": (58, 104, 206),
    "purple": (128, 82, 176),
    "white": (240, 240, 244),
}

# attribute -> values, in the order in which a designer offers them; the first is the plain one
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "skin": tuple(SKIN),
    "shape": ("oval", "round", "square", "heart"),
    "hair": ("short", "parted", "spiky", "curly", "bob", "long", "bun", "bald"),
    "hair_colour": tuple(HAIR),
    "eyes": tuple(EYES),
    "brows": ("soft", "thick", "arched"),
    "glasses": ("none", "round", "square"),
    "beard": ("none", "moustache", "full"),
    "collar": ("crew", "shirt", "hood"),
    "clothes": tuple(CLOTHES),
    "background": ("studio", "sky", "sunset", "garden", "room", "night"),
}

# hair style × hair colour pairs that no training ever sees
HELD_OUT = frozenset(
    {
        ("short", "ginger"),
        ("parted", "silver"),
        ("spiky", "black"),
        ("curly", "blond"),
        ("bob", "pink"),
        ("long", "brown"),
        ("bun", "ginger"),
        ("bald", "silver"),
    }
)


@dataclass(frozen=True)
class Face:
    """Describe one identity; every field is one of `ATTRIBUTES[field]`.

    Raises ValueError, in one line, for a value that the world cannot draw.
    """

    skin: str = "peach"
    shape: str = "oval"
    hair: str = "short"
    hair_colour: str = "brown"
    eyes: str = "hazel"
    brows: str = "soft"
    glasses: str = "none"
    beard: str = "none"
    collar: str = "crew"
    clothes: str = "blue"
    background: str = "studio"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, known = getattr(self, field.name), ATTRIBUTES[field.name]
            if value not in known:
                raise ValueError(f"{field.name} {value!r} is unknown; there is {', '.join(known)}")

    @property
    def held_out(self) -> bool:
        return (self.hair, self.hair_colour) in HELD_OUT


class Pose(NamedTuple):
    """Describe all motion in one frame; a clip is float32 [frames, 11] with these columns. Defaults are at rest."""

    mouth: float = 0.0  # 0 closed … 1 wide open
    width: float = 0.5  # 0 rounded as in "oo" … 1 spread as in "ee"
    blink: float = 0.0  # 0 open … 1 closed
    gaze_x: float = 0.0  # −1 … 1, to the viewer's right
    gaze_y: float = 0.0  # −1 … 1, down
    turn: float = 0.0  # −1 … 1, the nose to the viewer's right; 1 is 22 degrees
    tilt: float = 0.0  # −1 … 1, clockwise as seen; 1 is 9 degrees
    shift_x: float = 0.0  # −1 … 1, to the viewer's right; 1 is 1/25 of the picture
    shift_y: float = 0.0  # −1 … 1, down; 1 is 1/40 of the picture
    smile: float = 0.3  # 0 … 1
    breath: float = 0.0  # −1 out … 1 in


def random_face(rng: random.Random, *, held_out: bool = False) -> Face:
    """Draw a face uniformly; `held_out` chooses the side of the split on which its hair lies."""
    while True:
        face = Face(**{attribute: rng.choice(values) for attribute, values in ATTRIBUTES.items()})
        if face.held_out == held_out:
            return face
