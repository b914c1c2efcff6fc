"""Read a LoRA from a file, or from the folder that PEFT writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.checkpoints.lora_scaling import LoraScaling, scaling_beside, scaling_of_header
from models.checkpoints.quantised_weights import dequantised
from models.checkpoints.training_wrappers import LeftOut, StateDict
from models.checkpoints.weight_files import read_content


@dataclass(frozen=True)
class LoraFile:
    """Hold a LoRA's tensors as its file names them, how it is scaled, and the keys that are not used."""

    path: Path
    tensors: StateDict
    scaling: LoraScaling
    left_out: tuple[LeftOut, ...]


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA; the alpha comes from its tensors, its header, or adapter_config.json beside it, in this order.

    In a folder of PEFT the safetensors file is preferred to a pickle. Raises CheckpointError, which names what the file
    is, if it holds no weights.
    """
    adapters = [f for f in sorted(path.glob("adapter_model.*")) if f.is_file()]
    file = min(adapters, key=lambda f: f.suffix != ".safetensors", default=path)
    content = read_content(file)
    tensors, scales = dequantised(content.tensors, file)
    scaling = scaling_of_header(content.metadata, file) or scaling_beside(file) or LoraScaling()
    return LoraFile(file, tensors, scaling, (*content.left_out, *scales))
