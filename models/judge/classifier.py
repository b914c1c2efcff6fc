"""The judge: a small network that reads a scene's attributes from a window of twelve frames.

It is trained on the world alone and never sees what a generator made, so that what it says is evidence.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoints.weight_files import CheckpointError, load_into, read
from models.pocket.world.scene import UNSAID, WORDING

WINDOW = 12  # frames; one chunk
ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in {**WORDING, **UNSAID}.items()}
SUBJECT_ATTRIBUTES = ("size", "colour", "subject", "motion", "side")
SCENE_ATTRIBUTES = ("place", "light", "weather")
_SEEN = (0, 4, 8, 11)
_SIDE = 64


class Judge(nn.Module):
    """Windows [B, 4, 3, 64, 64] in 0..1 → logits [B, values] of every attribute."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3 * len(_SEEN), 32, 64, 96, 128)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (_SIDE // 16) ** 2, 256), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, windows: Tensor) -> dict[str, Tensor]:
        x = self.trunk(windows.flatten(1, 2) - 0.5)
        return {name: head(x) for name, head in self.heads.items()}

    @torch.inference_mode()
    def probabilities(self, frames: Tensor) -> dict[str, Tensor]:
        """Windows of frames [B, 12, H, W, 3] uint8 → probabilities [B, values] of every attribute."""
        logits = [self(window_of(part)) for part in frames.split(64)]
        return {name: torch.cat([part[name] for part in logits]).softmax(-1) for name in ATTRIBUTES}

    def read(self, frames: Tensor) -> list[dict[str, str]]:
        """The likeliest value of every attribute for windows [B, 12, H, W, 3] uint8."""
        best = {name: p.argmax(-1).tolist() for name, p in self.probabilities(frames).items()}
        return [{name: ATTRIBUTES[name][best[name][i]] for name in ATTRIBUTES} for i in range(len(frames))]


def window_of(frames: Tensor) -> Tensor:
    """[B, 12, H, W, 3] uint8 → what the judge looks at, [B, 4, 3, 64, 64] in 0..1."""
    seen = frames[:, list(_SEEN)].permute(0, 1, 4, 2, 3).float() / 255
    small = F.interpolate(seen.flatten(0, 1), (_SIDE, _SIDE), mode="area")
    return small.unflatten(0, seen.shape[:2])


def save(judge: Judge, path: Path, facts: dict[str, object]) -> None:
    tensors = {k: v.detach().half().contiguous() for k, v in judge.state_dict().items()}
    save_file(tensors, path, {"attributes": json.dumps(ATTRIBUTES), "training": json.dumps(facts)})


def load(path: Path) -> Judge:
    """The trained judge; CheckpointError if the file is not one or was trained on another vocabulary."""
    judge = Judge()
    load_into(judge, {k: v.float() for k, v in read(path).items()}, path)
    with safe_open(path, "pt") as f:
        known = json.loads(f.metadata()["attributes"])
    if known != {k: list(v) for k, v in ATTRIBUTES.items()}:
        raise CheckpointError(
            f"{path}: was trained on another vocabulary; train it anew with python -m models.judge.train_classifier"
        )
    return judge.eval()
