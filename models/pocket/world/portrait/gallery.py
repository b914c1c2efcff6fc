"""Give six ready-made faces of the portrait world, and design a face from its attributes."""

from __future__ import annotations

import difflib

import cv2
import numpy as np

from models.cue import Reference
from models.errors import UserError
from models.pocket.world.portrait.face import ATTRIBUTES, Face, Pose
from models.pocket.world.portrait.renderer import SIZE, draw_cut_out, draw_portrait


class FaceError(UserError):
    """Report, in one line for a person, a face that cannot be drawn."""


GALLERY = {
    "ada": Face("brown", "oval", "curly", "black", "hazel", "soft", "round", "none", "shirt", "yellow", "garden"),
    "bo": Face("porcelain", "heart", "parted", "pink", "green", "thick", "none", "none", "crew", "blue", "room"),
    "cem": Face("olive", "square", "short", "black", "hazel", "thick", "none", "full", "shirt", "white", "studio"),
    "dele": Face("deep", "oval", "bald", "black", "hazel", "thick", "square", "none", "hood", "green", "sunset"),
    "elin": Face("peach", "round", "bun", "blond", "blue", "arched", "none", "none", "crew", "red", "sky"),
    "finn": Face("peach", "square", "spiky", "ginger", "green", "soft", "none", "none", "hood", "purple", "night"),
}


FIRST = next(iter(GALLERY))


def face_named(text: str) -> Face:
    """Return a face of the gallery by its name, or one by its attributes, as in `hair=curly,glasses=round`.

    Attributes that are not named are plain, without glasses and beard: the first of their values in ATTRIBUTES. Raises
    FaceError for what cannot be drawn, and for an attribute that is named twice.
    """
    if text in GALLERY:
        return GALLERY[text]
    said: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = (p.strip() for p in part.partition("="))
        if not value and not said:
            raise FaceError(f"no face is called {text!r}; there are {', '.join(GALLERY)}, or say hair=curly,skin=deep")
        if value not in ATTRIBUTES.get(name, ()):
            known = ATTRIBUTES.get(name) or tuple(ATTRIBUTES)
            near = difflib.get_close_matches(value if name in ATTRIBUTES else name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise FaceError(f"{part.strip()!r} cannot be drawn; {hint}")
        if name in said:
            raise FaceError(f"{name} is named twice, as {said[name]} and as {value}")
        said[name] = value
    return Face(**{name: said.get(name, values[0]) for name, values in ATTRIBUTES.items()})


def as_png(reference: Reference) -> bytes:
    """Encode a reference picture as a PNG file."""
    pixels = np.frombuffer(reference.pixels, np.uint8).reshape(reference.height, reference.width, 3)
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


def cut_out_png(face: Face) -> bytes:
    """Draw the face at rest with nothing behind it, as a PNG file with alpha."""
    cut = draw_cut_out(face, np.array([Pose()], np.float32))[0]
    share = np.maximum(cut[..., 3:], 1) / 255  # PNG's colours are not multiplied by alpha (ISO/IEC 15948)
    colours = (cut[..., 2::-1] / share).round().clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", np.concatenate([colours, cut[..., 3:]], -1))[1])


def drawn(face: Face) -> Reference:
    """Draw the face at rest, as the reference picture of a take."""
    frame = draw_portrait(face, np.array([Pose()], np.float32))[0]
    return Reference(frame.tobytes(), SIZE, SIZE)
