"""Convert the colours of a picture to sRGB by its ICC profile, gamut, HDR transfer curve or PNG gamma."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

WHITE = 203.0  # cd/m² of diffuse white in HDR pictures (ITU-R BT.2408)
SRGB_GAMMA = 1 / 2.2  # value of a PNG's gAMA chunk that needs no conversion

# linear RGB of a gamut (ITU-T H.273 colour primaries) → linear RGB of BT.709
_TO_BT709 = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
}
_LINEAR, _PQ, _HLG = 8, 16, 18  # ITU-T H.273 transfer characteristics


def as_srgb(picture: Image.Image, info: Mapping[Any, Any], data: bytes, decoder: str) -> tuple[Image.Image, str | None]:
    """Return a picture (L, RGB or CMYK) as RGB in sRGB, and a note if its colour profile cannot be applied.

    `info` is Pillow's dictionary on the file with the bytes `data`, which Pillow's `decoder` (`PNG`, `AVIF`, ...) read.
    """
    code_points = _code_points(data, decoder)
    if code_points is not None and code_points[1] in (_LINEAR, _PQ, _HLG):
        return _from_code_points(picture.convert("RGB"), *code_points), None
    if profile := info.get("icc_profile"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(
                picture, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
            )
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            return picture.convert("RGB"), "its colour profile does not fit it; colours are taken as sRGB"
        return converted or picture.convert("RGB"), None
    colours = picture.convert("RGB")
    if code_points is not None and code_points[0] in _TO_BT709:
        return _from_code_points(colours, *code_points), None
    gamma = info.get("gamma")
    if decoder == "PNG" and gamma and "srgb" not in info and abs(gamma - SRGB_GAMMA) > 0.02:
        curve = [round(255 * (v / 255) ** min(10.0, SRGB_GAMMA / gamma)) for v in range(256)]
        return colours.point(curve * 3), None
    return colours, None


def _code_points(data: bytes, decoder: str) -> tuple[int, int] | None:
    """Return colour primaries and transfer characteristics (ITU-T H.273) that a PNG or AVIF file states, if any."""
    if decoder == "PNG" and 0 < (at := data.find(b"cICP", 8, data.find(b"IDAT"))) < len(data) - 8:
        return data[at + 4], data[at + 5]
    if decoder == "AVIF" and 0 < (at := data.find(b"colrnclx", 0, 1 << 16)) < len(data) - 14:
        return int.from_bytes(data[at + 8 : at + 10], "big"), int.from_bytes(data[at + 10 : at + 12], "big")
    return None


def _from_code_points(picture: Image.Image, primaries: int, transfer: int) -> Image.Image:
    """Convert RGB of given primaries and transfer characteristics to sRGB, compressing values brighter than white."""
    signal = np.asarray(picture, np.float64) / 255
    linear = _linear(signal, transfer)
    if primaries in _TO_BT709:
        linear = linear @ _TO_BT709[primaries].T
    linear = np.clip(linear, 0, None)
    if transfer in (_PQ, _HLG):  # the brightest of the three is brought below white, the others in proportion
        peak = np.maximum(linear.max(-1, keepdims=True), 1e-6)
        linear = linear * np.where(peak > 0.8, 1 - 0.2 * np.exp((0.8 - peak) / 0.2), peak) / peak
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return Image.fromarray((np.clip(encoded, 0, 1) * 255).round().astype(np.uint8), "RGB")


def _linear(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Return linear light, 1 being diffuse white, for a signal 0…1 (SMPTE ST 2084, ITU-R BT.2100, IEC 61966-2-1)."""
    if transfer == _LINEAR:
        return signal
    if transfer == _PQ:
        root = signal ** (1 / 78.84375)
        ratio = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
        return 10_000 / WHITE * ratio ** (1 / 0.1593017578125)
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        luminance = (scene @ np.array([0.2627, 0.6780, 0.0593]))[..., None]
        return 1000 / WHITE * scene * np.maximum(luminance, 1e-9) ** 0.2
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
