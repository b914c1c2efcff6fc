"""Define what every video codec can do, whatever network it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from models.codecs.stream import DecodeStream, EncodeStream, Memory


class Codec(ABC):
    """Encode and decode video causally: a stream's first frame is one latent, every later four are one more."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Return how many channels a latent has."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Return the pixels of a frame that a latent's cell stands for, across and down."""

    @abstractmethod
    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode the next latents of a stream (models.codecs.stream.Decoder)."""

    @abstractmethod
    def encode_part(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Encode the next frames of a stream (models.codecs.stream.Encoder)."""

    def decode_stream(self) -> DecodeStream:
        """Return a new stream from latents to frames."""
        return DecodeStream(self)

    def encode_stream(self) -> EncodeStream:
        """Return a new stream from frames to latents."""
        return EncodeStream(self)

    def encode_image(self, image: Tensor) -> Tensor:
        """Encode RGB [1, H, W, 3] uint8 to the latent [1, C, 1, h, w] of a stream that begins with this image."""
        return self.encode_stream().encode(image)
