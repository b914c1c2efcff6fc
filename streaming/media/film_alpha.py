"""Decode films with transparency, and lay their pictures on the ground on which transparent pictures are laid."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from streaming.speech.portrait_file import GROUND

# VP8 and VP9 keep alpha as a film of its own beside each picture, which these decoders alone read
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def alpha_decoder(stream: av.video.stream.VideoStream) -> av.VideoCodecContext | None:
    """Return a decoder for a track of VP8 or VP9 with alpha; None where the track's own decoder gives all there is."""
    name = _DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return None
    return cast("av.VideoCodecContext", av.CodecContext.create(name, "r"))


def opaque(picture: av.VideoFrame) -> tuple[NDArray[np.uint8], bool]:
    """Return a decoded picture [H, W, 3] RGB over the colour GROUND, and whether any of the ground is seen."""
    shape = picture.format
    if not (shape.has_palette or any(part.is_alpha for part in shape.components)):
        return picture.to_ndarray(format="rgb24"), False
    rgba = picture.to_ndarray(format="rgba")
    colours, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return colours, False
    share = alpha.astype(np.uint16)  # up to 255 * 255 + 127, which 16 bits hold
    laid = (colours * share + np.array(GROUND, np.uint16) * (255 - share) + 127) // 255
    return laid.astype(np.uint8), True
