"""Read the parts of a model from its folder, each as an empty module and the tensors that belong to it.

Names, shapes and types are checked against the module without reading the tensors themselves, so that a pull is
verified by the code that loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from models.catalog import Entry
from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.configuration import built_of, config_of, embedded_config, sound
from models.checkpoints.lora import Lora, fitted
from models.checkpoints.lora_file import read_lora
from models.checkpoints.training_wrappers import StateDict, note
from models.checkpoints.weight_files import as_diffusers, check_fit, load_into, read
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.codecs.tiny_configs import TAE
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Component(Generic[M]):
    """Hold an empty module (on the meta device), tensors that fit it, and where they came from."""

    module: M
    tensors: StateDict
    path: Path

    def __post_init__(self) -> None:
        check_fit(self.module.state_dict(), self.tensors, self.path)

    def loaded(self, dtype: torch.dtype) -> M:
        """Return the module with its weights as `dtype`, on the CPU; raise CheckpointError if a value is not finite."""
        load_into(self.module, self.tensors, self.path, dtype)
        return self.module


def transformer_of(entry: Entry, folder: Path) -> tuple[Component[CausalWanTransformer], Component[WordText] | None]:
    """Return an entry's transformer, and its text encoder if that lies in the same file (pocket's)."""
    file = folder / entry.weights.file
    tensors = read(file, entry.weights.wrapper)
    words: Component[WordText] | None = None
    if entry.text == "words":
        strange = [k for k in tensors if not k.startswith(("text.", "transformer."))]
        if strange:
            raise CheckpointError(f"{file}: unexpected {some_of(strange)}, neither of the transformer nor of its text")
        with built_of(file, "text encoder"):
            vocabulary = embedded_config(file)["words"]
            if not isinstance(vocabulary, list) or not all(isinstance(w, str) for w in vocabulary):
                raise TypeError("words")
            with torch.device("meta"):
                encoder = WordText(tuple(vocabulary), entry.transformer["text_dim"], entry.name)
        words = Component(encoder, _below(tensors, "text."), file)
        tensors = _below(tensors, "transformer.")
    with torch.device("meta"):
        transformer = CausalWanTransformer(**entry.transformer)
        if entry.driving_features is not None:
            transformer.add_driving_attention(entry.driving_features)
    return Component(transformer, as_diffusers(tensors, file), file), words


def lora_of(entry: Entry, folder: Path, base: StateDict) -> Lora | None:
    """Return the changes that the entry's own LoRA makes to its base weights; None if it has no LoRA."""
    if entry.weights.lora is None:
        return None
    file = read_lora(folder / entry.weights.lora)
    lora = fitted(file.tensors, base, file.path, file.scaling)
    note(file.path, (*file.left_out, *lora.left_out))
    return lora


def wan_codec_of(folder: Path) -> Component[Any]:
    """Return diffusers' `AutoencoderKLWan` of a folder with config.json and weights."""
    from diffusers import AutoencoderKLWan

    config = config_of(folder / "config.json")
    with built_of(folder / "config.json", "Wan codec"), torch.device("meta"):
        network = AutoencoderKLWan.from_config(config)
    return Component(network, read(folder), folder)


def umt5_of(folder: Path) -> Component[Any]:
    """Return transformers' `UMT5EncoderModel` of a folder with config.json and weights."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = config_of(folder / "config.json")
    with built_of(folder / "config.json", "UMT5 text encoder"), torch.device("meta"):
        encoder = UMT5EncoderModel(UMT5Config.from_dict(config))
    tensors = read(folder)
    tied = ("shared.weight", "encoder.embed_tokens.weight")  # one table of words, stored once
    table = next((tensors[name] for name in tied if name in tensors), None)
    return Component(encoder, tensors | (dict.fromkeys(tied, table) if table is not None else {}), folder)


def tokenizer_of(folder: Path) -> Any:
    """Return transformers' tokenizer of a folder; raise CheckpointError if it cannot be read."""
    from transformers import AutoTokenizer

    with built_of(folder, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def tiny_codec_of(file: Path) -> Component[TinyCodec]:
    """Return a tiny codec whose file's header holds its configuration."""
    tensors = read(file)
    with built_of(file, "tiny codec"), torch.device("meta"):
        listed = sound(embedded_config(file), file)
        config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in listed.items()}
        codec = TinyCodec(TinyCodecConfig(**config))
    return Component(codec, tensors, file)


def tae_of(entry: Entry, folder: Path) -> Component[TinyCodec]:
    """Return the tiny codec that stands for the entry's own, from a file in TAEHV's layout."""
    file = tae_file(entry, folder)
    with torch.device("meta"):
        codec = TinyCodec(TAE[entry.transformer["out_channels"]])
    return Component(codec, read(file), file)


def tae_file(entry: Entry, folder: Path) -> Path:
    """Return the file of the tiny codec that stands for the entry's own."""
    assert entry.tae is not None, "a model without such a codec"
    return folder / entry.tae.files[0]


def _below(tensors: StateDict, prefix: str) -> StateDict:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
