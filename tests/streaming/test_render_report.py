"""Test that a contact sheet shows a film from first frame to last, and keeps only the shown frames in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streaming.render_report import contact_sheet


@pytest.mark.parametrize(("suffix", "frames"), [(".png", 1), (".png", 5), (".jpg", 300)])
def test_a_contact_sheet_goes_from_the_first_frame_to_the_last(suffix: str, frames: int, tmp_path: Path) -> None:
    film, sheet = tmp_path / "o.mp4", tmp_path / f"s{suffix}"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(frames):
            grey = round(40 + 160 * i / max(1, frames - 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey, np.uint8))))
        container.mux(stream.encode(None))
    tracemalloc.start()
    contact_sheet(film, sheet)
    assert tracemalloc.get_traced_memory()[1] < 2 * 33 * 64 * 64 * 3  # the frames that are shown, and the sheet
    tracemalloc.stop()
    shown = cv2.imread(str(sheet))
    assert shown.shape == (4 * 64, 8 * 64, 3)
    assert abs(int(shown[32, 32, 0]) - 40) < 12
    assert abs(int(shown[-32, -32, 0]) - (200 if frames > 1 else 40)) < 12
