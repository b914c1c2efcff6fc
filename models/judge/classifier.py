"""Read a scene's attributes, said and unsaid, from windows of twelve frames with a small convolutional network.

The judge is trained on the world alone, held-out pairs included, and never sees what a generator made, so that what it
says is evidence.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoints.safetensors_header import read_header
from models.checkpoints.weight_files import CheckpointError, load_into, read
from models.pocket.world.scene import UNSAID, WORDING

WINDOW = 12  # frames; one chunk
ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in {**WORDING, **UNSAID}.items()}
SUBJECT_ATTRIBUTES = ("size", "colour", "subject", "motion", "side")
SCENE_ATTRIBUTES = ("place", "light", "weather")
SEEN = (0, 2, 4, 7, 9, 11)  # frames of a window that the judge looks at
SIDE = 96  # pixels; frames of any size are brought to it


class Judge(nn.Module):
    """Map windows [B, 6, 3, 96, 96] in 0..1 to logits [B, values] of every attribute."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3 * len(SEEN), 32, 64, 96, 128)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (SIDE // 16) ** 2, 256), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, windows: Tensor) -> dict[str, Tensor]:
        x = self.trunk(windows.flatten(1, 2) - 0.5)
        return {name: head(x) for name, head in self.heads.items()}

    @torch.inference_mode()
    def probabilities(self, frames: Tensor) -> dict[str, Tensor]:
        """Return the probabilities [B, values] of every attribute of windows of frames [B, 12, H, W, 3] uint8."""
        device = next(self.parameters()).device
        logits = [self(window_of(part.to(device))) for part in frames.split(64)]
        return {name: torch.cat([part[name] for part in logits]).softmax(-1).cpu() for name in ATTRIBUTES}

    def read(self, frames: Tensor) -> list[dict[str, str]]:
        """Return the likeliest value of every attribute for windows [B, 12, H, W, 3] uint8."""
        best = {name: p.argmax(-1).tolist() for name, p in self.probabilities(frames).items()}
        return [{name: ATTRIBUTES[name][best[name][i]] for name in ATTRIBUTES} for i in range(len(frames))]


def window_of(frames: Tensor) -> Tensor:
    """Return what the judge looks at of windows [B, 12, H, W, 3] uint8: [B, 6, 3, 96, 96] in 0..1."""
    return small(frames[:, list(SEEN)])


def small(frames: Tensor) -> Tensor:
    """Bring frames [B, n, H, W, 3] uint8 of any size to the judge's: [B, n, 3, 96, 96] in 0..1."""
    whole = frames.permute(0, 1, 4, 2, 3).float() / 255
    if whole.shape[-2:] == (SIDE, SIDE):
        return whole
    reduced = F.interpolate(whole.flatten(0, 1), (SIDE, SIDE), mode="bilinear", antialias=True)
    return reduced.unflatten(0, whole.shape[:2])


def save(judge: Judge, path: Path, facts: dict[str, object]) -> None:
    """Write the judge's weights as float16, with its vocabulary and the facts of its training as metadata."""
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in judge.state_dict().items()}
    save_file(tensors, path, {"attributes": json.dumps(ATTRIBUTES), "training": json.dumps(facts)})


def load(path: Path) -> Judge:
    """Load a trained judge; raise CheckpointError if the file is not one or was trained on another vocabulary."""
    weights = read(path)
    known = json.loads(read_header(path).metadata.get("attributes", "null"))
    if known is not None and known != {k: list(v) for k, v in ATTRIBUTES.items()}:
        raise CheckpointError(
            f"{path}: was trained on another vocabulary; train it anew with python -m models.judge.train_classifier"
        )
    judge = Judge()
    load_into(judge, weights, path)
    return judge.eval()
