"""Write cues as a render's journal of version 1 has them, so that a render begun by an earlier release can go on."""

from __future__ import annotations

import hashlib
from typing import assert_never

from models.cue import (
    Cue,
    Cut,
    Follow,
    Hold,
    Hush,
    LoraScale,
    Parameter,
    Prompt,
    Recache,
    Recall,
    Reference,
    Seed,
    Start,
    Unfollow,
)


def in_version_1(cue: Cue) -> str:
    """Return a cue as version 1 wrote it: the `repr` that its class had then, or has if it is newer."""
    match cue:
        case Prompt(text, blend):
            return f"Prompt(text={text!r}, blend={blend})"
        case Cut():
            return "Cut()"
        case Seed(seed):
            return f"Seed(seed={seed})"
        case Hush(frame):
            return f"Hush(frame={frame})"
        case Parameter(name, value):
            return f"Parameter(name={name!r}, value={str(value)!r})"
        case Recache():
            return repr(cue)
        case Reference():
            digest = hashlib.blake2b(cue.pixels, digest_size=8).hexdigest()
            return f"Reference({cue.width}x{cue.height}, {digest})"
        case Hold() | Start() | Follow() | Unfollow() | Recall() | LoraScale():
            return repr(cue)  # which no journal of version 1 has
    assert_never(cue)
