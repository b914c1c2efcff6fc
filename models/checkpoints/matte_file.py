"""Load and save the network that separates an avatar's face from its ground."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from safetensors.torch import save_file

from models.checkpoints.assemble import ASSETS
from models.checkpoints.weight_files import load_into, read
from models.matte import MatteNetwork

FILE = ASSETS / "pocket-avatar" / "matte.safetensors"


@cache
def installed_matte() -> MatteNetwork:
    """Return the network that comes with the package; CheckpointError if its file is missing or damaged."""
    return load(FILE)


def load(path: Path) -> MatteNetwork:
    """Load a trained network; CheckpointError for a file that is missing, damaged or of something else."""
    network = MatteNetwork()
    load_into(network, read(path), path)
    return network.eval()


def save(network: MatteNetwork, path: Path, facts: dict[str, object]) -> None:
    """Write the weights in half precision, with facts on their training as metadata."""
    tensors = {k: v.detach().half().contiguous() for k, v in network.state_dict().items()}
    save_file(tensors, path, {"training": json.dumps(facts)})
