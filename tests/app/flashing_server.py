"""Run the avatar's server with pictures that are white where their sound is loud, so that a viewer can time the two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from avatar_server import main, tiny
from streaming.speech.avatar_producer import AvatarProducer

from streaming.live.playout import Shown
from streaming.rollout import Chunk

_shown = AvatarProducer._shown


def flashing(drawing: AvatarProducer, chunk: Chunk) -> list[Shown]:
    return [
        replace(frame, picture=np.full_like(np.asarray(frame.picture), 255 if np.abs(frame.sound).max() > 3000 else 0))
        for frame in _shown(drawing, chunk)
    ]


if __name__ == "__main__":
    AvatarProducer._shown = flashing  # type: ignore[method-assign]
    tiny()
    main()
