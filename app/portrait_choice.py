"""Choose an avatar's portrait: a face of the gallery, a face by attributes, or a picture."""

from __future__ import annotations

from app.errors import InvalidRequestError
from models.pocket.world.portrait.gallery import FIRST, as_png, drawn, face_named
from models.pocket.world.portrait.renderer import SIZE
from streaming.speech.portrait_file import Portrait, portrait_in


def portrait_for(face: str | None, picture: bytes | None, size: tuple[int, int]) -> Portrait:
    """Return a portrait of `size` (width, height) from a face, by name or attributes, or from a picture file.

    With neither, it is the first face of the gallery. Raises FaceError for a face that cannot be drawn,
    PortraitError for bytes that are no picture that can be read.
    """
    if face is not None and picture is not None:
        raise InvalidRequestError("face and portrait exclude each other; send one of them")
    if picture is not None:
        return portrait_in(picture, size, "the portrait")
    reference = drawn(face_named(face or FIRST))
    return Portrait(reference) if size == (SIZE, SIZE) else portrait_in(as_png(reference), size, "the face")
