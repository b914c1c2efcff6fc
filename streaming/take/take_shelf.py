"""Name, picture and delete the takes of a data folder: what a person does with them on a shelf.

Beside the journal `ID.jsonl` lie `ID.name`, with the name that a person gave the take, and `ID.webp`, a small picture.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.checkpoints.synced_files import remove, write_whole

MOST_NAME = 80  # characters
SIDE = 320  # pixels of the longer side of a picture, at most
QUALITY = 85  # of WebP


def name_file(folder: Path, take: str) -> Path:
    """Return the path of the file with the name of a take."""
    return folder / f"{take}.name"


def name_of(folder: Path, take: str) -> str:
    """Return the name that a person gave a take; "" if none did."""
    try:
        return name_file(folder, take).read_text(encoding="utf-8")[:MOST_NAME]
    except (OSError, UnicodeDecodeError):
        return ""


def rename(folder: Path, take: str, name: str) -> None:
    """Give a take a name, or take it away with ""; OSError if the disk does not take it."""
    path = name_file(folder, take)
    if name:
        write_whole(path, name[:MOST_NAME].encode())
    else:
        remove(path)


def picture_file(folder: Path, take: str) -> Path:
    """Return the path of the small picture of a take."""
    return folder / f"{take}.webp"


def write_picture(folder: Path, take: str, picture: NDArray[np.uint8]) -> None:
    """Keep a picture [H, W, 3] RGB of a take as WebP of at most SIDE pixels; OSError if the disk does not take it."""
    height, width = picture.shape[:2]
    share = min(1.0, SIDE / max(width, height))
    if share < 1:
        size = (max(1, round(width * share)), max(1, round(height * share)))
        picture = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, webp = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    write_whole(picture_file(folder, take), webp.tobytes())


def delete_take(folder: Path, take: str) -> None:
    """Delete a take: its journal first, so that it is not listed any more, then all that lies beside it.

    Uploaded files that another take names stay, as a branch needs them to be drawn again. OSError if something cannot
    be deleted; asked again, the rest is.
    """
    remove(folder / f"{take}.jsonl")
    named = _texts_of_others(folder, take)
    for path in sorted(folder.iterdir()):
        if not path.name.startswith((f"{take}.", f"{take}-")):
            continue
        if path.is_symlink() or not path.is_dir():
            if os.fsencode(path.name) not in named:
                remove(path)
        elif path.suffix == ".files":
            for file in path.iterdir():
                if os.fsencode(f"{path.name}/{file.name}") not in named:
                    remove(file)
            with contextlib.suppress(OSError):  # it holds what another take needs
                path.rmdir()
        else:
            shutil.rmtree(path)


def _texts_of_others(folder: Path, take: str) -> bytes:
    """Return the journals and take files of other takes that mention this one, joined."""
    found = []
    for path in [*folder.glob("*.jsonl"), *folder.glob("*.yaml")]:
        if path.name.startswith(f"{take}."):
            continue
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            if take.encode() in text:
                found.append(text)
    return b"\n".join(found)
