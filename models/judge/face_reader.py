"""Read a portrait's identity and pose with a small network, the face reader.

It is trained on the portrait world alone and never sees a generator's output, so that its readings are evidence.
Identity lies in the face and the hair; clothes and background are not part of the embedding, their drift is read from
the pixels.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoints.safetensors_header import read_header
from models.checkpoints.weight_files import CheckpointError, load_into, read

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
Numbers = NDArray[np.float64]

READ = ("mouth", "blink", "gaze_x", "gaze_y", "turn", "tilt")  # columns of `Pose` that are read
IDENTITY = (
    "skin",
    "shape",
    "hair",
    "hair_colour",
    "eyes",
    "brows",
    "glasses",
    "beard",
)  # fields of `Face` that make somebody
EMBEDDING = 64
SIDE = 128


class FaceReader(nn.Module):
    """Map pictures [B, 3, 128, 128] in 0…1 to unit embeddings [B, 64] and readings [B, 6] in the ranges of `Pose`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        widths = (12, 32, 64, 96, 128)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
            if after > 32:
                layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        width = widths[-1] * (SIDE // 32) ** 2
        self.who = nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, EMBEDDING))
        self.what = nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, len(READ)))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(pictures - 0.5)
        return F.normalize(self.who(x), dim=-1), self.what(x)

    @torch.inference_mode()
    def _read(self, frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parts = [self(picture_of(torch.from_numpy(frames[i : i + 64]))) for i in range(0, len(frames), 64)]
        who, what = (torch.cat(p).numpy() for p in zip(*parts, strict=True))
        return who, what

    def identity(self, frames: Frames) -> NDArray[np.float32]:
        """Return unit embeddings [n, 64]; the scalar product of two pictures of one face is near 1."""
        return self._read(frames)[0]

    def pose(self, frames: Frames) -> dict[str, Numbers]:
        """Return every reading of `READ` by name, [n], in the units of `Pose`; `mouth` is the openness for lip sync."""
        return dict(zip(READ, self._read(frames)[1].astype(np.float64).T, strict=True))


def picture_of(frames: Tensor) -> Tensor:
    """Convert frames [B, H, W, 3] uint8 to the network's input [B, 3, 128, 128] in 0…1."""
    pictures = frames.permute(0, 3, 1, 2).float() / 255
    return pictures if pictures.shape[-2:] == (SIDE, SIDE) else F.interpolate(pictures, (SIDE, SIDE), mode="area")


def save(reader: FaceReader, path: Path, facts: dict[str, object]) -> None:
    tensors = {k: v.detach().half().contiguous() for k, v in reader.state_dict().items()}
    save_file(tensors, path, {"read": json.dumps(READ), "training": json.dumps(facts)})


def load(path: Path) -> FaceReader:
    """Load a trained reader; raises CheckpointError for another file or other readings."""
    reader = FaceReader()
    load_into(reader, read(path), path)
    known = json.loads(read_header(path).metadata.get("read", "[]"))
    if tuple(known) != READ:
        raise CheckpointError(
            f"{path}: reads other things; train it anew with python -m models.judge.train_face_reader"
        )
    return reader.eval()
