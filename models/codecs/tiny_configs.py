"""List the layouts of the tiny codecs: those that ship with Longtake, and those that stand for Wan's."""

from __future__ import annotations

from models.codecs.tiny import TinyCodecConfig

# 16 pixels and 4 frames to a latent cell; decoding 12 frames of 256x256 takes about as long as drawing them
POCKET = TinyCodecConfig(
    latent_channels=32,
    patch_size=4,
    encoder_width=80,
    encoder_strides=(2, 2, 1),
    decoder_widths=(160, 96, 32, 64),
    decoder_scales=(2, 2, 1),
    bounded=True,
)
# 8 pixels and 4 frames to a latent cell
AVATAR = TinyCodecConfig(
    patch_size=2,
    encoder_width=48,
    encoder_strides=(2, 2, 1),
    decoder_widths=(96, 64, 32, 32),
    decoder_scales=(2, 2, 1),
    bounded=True,
)
# TAEHV for Wan (madebyollin/taehv), by the channels of its latents: `taew2_1` and `taew2_2`
TAE = {16: TinyCodecConfig(), 48: TinyCodecConfig(latent_channels=48, patch_size=2)}
TINY_CODECS = {"pocket": POCKET, "pocket-avatar": AVATAR}
