"""Write films for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def film(path: Path, *, frames: int, fps: int, size: int = 32, sound: bool = False) -> None:
    """Write a film whose picture number i is grey of value 2i, with a tone of its length if it has sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "4"}
        voice = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(frames):
            picture = np.full((size, size, 3), min(255, 2 * number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if voice is not None:
            tone = np.sin(2 * np.pi * 440 * np.arange(16000 * frames // fps) / 16000)
            heard = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
            heard.sample_rate = 16000
            container.mux(voice.encode(heard))
            container.mux(voice.encode(None))
