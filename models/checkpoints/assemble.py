"""Build a generator that runs from a catalog entry and a folder of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from models.catalog import Entry
from models.checkpoints.weight_files import CheckpointError, as_diffusers, load_into, read, with_lora
from models.codecs.codec import Codec
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.codecs.tiny_configs import TINY_CODECS
from models.generator import Generator
from models.prompt_memory import TextEncoder
from models.text.words import WordText
from models.transformer import CausalWanTransformer

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@dataclass(frozen=True)
class Model:
    """Hold a loaded model.

    `fingerprint` names the transformer's weights in a take's record and `codec` the codec's; `engine` says there what
    runs it, if not torch.
    """

    entry: Entry
    generator: Generator
    fingerprint: str
    not_understood: Callable[[str], dict[str, list[str]]]  # words of a prompt the model does not know → nearest ones
    engine: dict[str, str] = field(default_factory=dict)
    codec: str = "random"


def folder_of(entry: Entry, models: Path) -> Path:
    """Return where the entry's files lie: in assets/ for what ships with Longtake, below `models` otherwise."""
    return ASSETS if all(not s.repo for s in entry.sources) else models / entry.name


def missing_files(entry: Entry, folder: Path) -> list[str]:
    """Return the patterns of the entry for which the folder holds no file."""
    # patterns are matched one by one, so that folders may be links, as they are in the hub's own cache
    return [f for s in entry.sources for f in s.files if not any(p.is_file() for p in folder.glob(f))]


def load(entry: Entry, folder: Path, device: torch.device, dtype: torch.dtype) -> Model:
    """Read the files and build the model; CheckpointError says in one line what is missing or wrong."""
    missing = missing_files(entry, folder)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{entry.name}: {folder / missing[0]}{more} is missing; fetch it with: longtake models pull {entry.name}"
        )
    transformer_file = folder / entry.weights.file
    tensors = read(transformer_file, entry.weights.wrapper)
    if entry.weights.lora is not None:
        lora = folder / entry.weights.lora
        tensors = with_lora(tensors, read(lora, None), lora)
    encode: TextEncoder
    unknown: Callable[[str], dict[str, list[str]]] = lambda prompt: {}  # noqa: E731
    if entry.text == "words":
        words = WordText(tuple(_metadata(transformer_file)["words"]), entry.transformer["text_dim"])
        load_into(words, _part(tensors, "text."), transformer_file)
        tensors = _part(tensors, "transformer.")
        encode, unknown = words.to(device).eval(), words.not_understood
    else:
        encode = _umt5(folder, device, dtype)
    with torch.device("meta"):
        transformer = CausalWanTransformer(**entry.transformer)
        if entry.driving_features is not None:
            transformer.add_driving_attention(entry.driving_features)
    load_into(transformer, {k: v.to(dtype) for k, v in as_diffusers(tensors).items()}, transformer_file)
    codec = _codec(entry, folder, device, dtype)
    generator = Generator(entry.rollout, _ready(transformer, device), encode, codec)
    weights = [folder / name for name in (entry.weights.file, entry.weights.lora) if name is not None]
    codec_files = sorted((folder / "vae").glob("*.safetensors"))
    if entry.codec == "tiny":
        codec_files = [folder / entry.name / "codec.safetensors"]
    return Model(entry, generator, _fingerprint(weights), unknown, codec=_fingerprint(codec_files))


def random_model(entry: Entry, device: torch.device, dtype: torch.dtype) -> Model:
    """Build the entry at its true size with random weights, the same each time: true speed, no meaning."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _random_model(entry, device, dtype)


def _random_model(entry: Entry, device: torch.device, dtype: torch.dtype) -> Model:
    with torch.device(device):
        previous = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            transformer = CausalWanTransformer(**entry.transformer)
            if entry.driving_features is not None:
                transformer.add_driving_attention(entry.driving_features)
        finally:
            torch.set_default_dtype(previous)
    length = 512 if entry.text == "umt5" else 20

    def encode(prompts: list[str]) -> Tensor:
        seed = int.from_bytes(hashlib.blake2b(prompts[0].encode(), digest_size=4).digest(), "big")
        return torch.randn(1, length, entry.transformer["text_dim"], generator=torch.Generator().manual_seed(seed))

    codec: Codec
    if entry.codec == "tiny":
        codec = TinyCodec(TINY_CODECS[entry.name]).to(device, dtype).eval()
    else:
        from diffusers import AutoencoderKLWan

        from models.codecs.wan import WanCodec

        codec = WanCodec(AutoencoderKLWan().to(device, dtype).eval())
    generator = Generator(entry.rollout, _ready(transformer, device), encode, codec)
    return Model(entry, generator, "random", lambda prompt: {})


def _ready(transformer: CausalWanTransformer, device: torch.device) -> CausalWanTransformer:
    if any(b.is_meta for b in transformer.buffers()):  # diffusers' rotary tables, which the causal loop does not use
        transformer.rope.to_empty(device=device)
    return transformer.to(device).eval().requires_grad_(requires_grad=False)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}


def _metadata(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as f:
        config: dict[str, Any] = json.loads((f.metadata() or {}).get("config", "{}"))
    return config


def _codec(entry: Entry, folder: Path, device: torch.device, dtype: torch.dtype) -> Codec:
    if entry.codec == "tiny":
        return load_tiny_codec(folder / entry.name / "codec.safetensors").to(device)
    from diffusers import AutoencoderKLWan

    from models.codecs.wan import WanCodec

    return WanCodec(AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=dtype).to(device).eval())


def load_tiny_codec(file: Path) -> TinyCodec:
    """Load a tiny codec from a safetensors file whose metadata holds its configuration."""
    tensors = read(file)
    config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in _metadata(file).items()}
    codec = TinyCodec(TinyCodecConfig(**config))
    load_into(codec, {k: v.float() for k, v in tensors.items()}, file)
    return codec.eval()


def _umt5(folder: Path, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    from transformers import AutoTokenizer, UMT5EncoderModel

    from models.text.umt5 import UMT5Text

    encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype).to(device)
    return UMT5Text(encoder, AutoTokenizer.from_pretrained(folder / "tokenizer"))


def _fingerprint(files: list[Path]) -> str:
    """Return a name for weights: a hash of the files, or of their sizes and both ends where they are large."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        if file.is_dir():
            continue
        with file.open("rb") as f:
            size = f.seek(0, 2)
            digest.update(str(size).encode())
            for start in (0,) if size < 64 << 20 else (0, size - (16 << 20)):
                f.seek(start)
                digest.update(f.read(64 << 20 if size < 64 << 20 else 16 << 20))
    return digest.hexdigest()
