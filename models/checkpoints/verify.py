"""Check that a model's files are whole and belong to it, without reading their tensors into memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.catalog import Entry
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.components import (
    lora_of,
    tae_of,
    tiny_codec_of,
    tokenizer_of,
    transformer_of,
    umt5_of,
    wan_codec_of,
)
from models.checkpoints.file_kind import WeightFormat, found
from models.checkpoints.model_files import PULLING, finished, missing_files
from models.checkpoints.safetensors_header import read_header

_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def verify_file(file: Path) -> None:
    """Check a file by its first bytes, and weights by header and size; raise CheckpointError if they are wrong."""
    finding = found(file)
    if finding.stands_in:
        raise CheckpointError(f"{file}: not the file of that name; it is {finding.description}")
    if file.suffix in _WEIGHTS and finding.format is None:
        raise CheckpointError(f"{file}: not weights; it is {finding.description}")
    if finding.format is WeightFormat.SAFETENSORS:
        read_header(file)


def verify(entry: Entry, folder: Path, progress: Callable[[str], None]) -> None:
    """Check every file of an entry: its kind, its size, names, shapes and types of its tensors against the model.

    `progress` is called with the name of each part before it is checked. Raises CheckpointError for the
    first file that is wrong.
    """
    missing = [name for name in missing_files(entry, folder) if name != PULLING]
    if missing:
        raise CheckpointError(f"{folder / missing[0]}: has not come")
    for source in entry.sources:
        for file in sorted(f for pattern in source.files for f in folder.glob(pattern) if finished(f)):
            verify_file(file)
    progress(entry.weights.file)
    transformer, _ = transformer_of(entry, folder)
    if entry.weights.lora is not None:
        progress(entry.weights.lora)
        lora_of(entry, folder, transformer.tensors)
    if entry.codec == "tiny":
        progress("codec")
        tiny_codec_of(folder / entry.name / "codec.safetensors")
    elif entry.codec == "tae":
        progress("tae")
        tae_of(entry, folder)
    else:
        progress("vae")
        wan_codec_of(folder / "vae")
    if entry.text == "umt5":
        progress("text_encoder")
        umt5_of(folder / "text_encoder")
        progress("tokenizer")
        tokenizer_of(folder / "tokenizer")
