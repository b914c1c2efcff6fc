"""Refuse takes whose files are reached through symbolic links.

A name in a take stands for a file in the take's folder or below it, and a link there can lead anywhere. A person's own
render may follow links, as the files are the person's; a server may not, since its clients did not choose them.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import ErrorKind, UserError
from streaming.take.take_file import Take
from streaming.take.take_loras import lora_names


class LinkError(UserError):
    """Report a file of a take that is a symbolic link, or lies behind one."""

    kind = ErrorKind.CONFLICT


def refuse_links(take: Take, folder: Path) -> None:
    """Raise LinkError if a file that a take names in its `folder` is a symbolic link, or lies behind one below it.

    LoRAs at absolute paths are no names of that folder.
    """
    loras = [(take.loras or {}).get(name, name) for name in lora_names(take)]
    beside = [name for name in (*take.portraits, *take.sounds, *loras) if not os.path.isabs(name)]
    root = folder.resolve()
    for name in [*beside, *(name for cue in take.cues for name in cue.files())]:
        # a link that leads to itself is where it is; `Path.resolve` fails for it
        if (root / name).is_symlink() or os.path.realpath(root / name) != os.path.normpath(root / name):
            raise LinkError(f"{name}: is a symbolic link, or lies behind one, which is not followed here")
