"""Build a generator that runs from a catalog entry and a folder of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.catalog import Entry
from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.components import (
    Component,
    lora_of,
    tae_file,
    tae_of,
    tiny_codec_of,
    tokenizer_of,
    transformer_of,
    umt5_of,
    wan_codec_of,
)
from models.checkpoints.lora import merged
from models.checkpoints.model_files import PULLING, missing_files
from models.checkpoints.weight_files import load_into
from models.codecs.codec import Codec
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE, TINY_CODECS
from models.float8_weights import keep_in_float8
from models.generator import Generator
from models.lora import MergedLoras
from models.text.prompt_reading import PromptReading, any_prompt
from models.transformer import CausalWanTransformer

if TYPE_CHECKING:
    from models.text.umt5 import UMT5Text

ASSETS = Path(__file__).resolve().parents[2] / "assets"
USUAL_WORDS = 100  # positions of a usual prompt that hold a token, where a model without weights is measured


@dataclass(frozen=True)
class Model:
    """Hold a loaded model.

    A take's record holds `fingerprint`, which identifies the transformer's weights, `codec`, which identifies the
    codec's, and `engine`, which names the engine if it is not torch.
    """

    entry: Entry
    generator: Generator
    fingerprint: str
    read_prompt: Callable[[str], PromptReading]  # raises PromptError if nothing is understood
    engine: dict[str, str] = field(default_factory=dict)
    codec: str = "random"


def folder_of(entry: Entry, models: Path) -> Path:
    """Return the folder of an entry's files: in assets/ if they ship with Longtake, otherwise below `models`."""
    return ASSETS if all(not s.repo for s in entry.sources) else models / (entry.folder or entry.name)


def load(
    entry: Entry,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    text_on: torch.device | None = None,
    *,
    float8: bool = False,
    offloaded: bool = False,
) -> Model:
    """Read the files and build the model; raise CheckpointError with one line on what is missing or wrong.

    A large text encoder runs on the device `text_on` (None: on that of the rest). With `float8` the transformer's
    blocks keep their weights in that type; `offloaded` they wait in the host's memory, and passes are slower.
    """
    missing = missing_files(entry, folder)
    if missing == [PULLING]:
        raise CheckpointError(
            f"{entry.name}: {folder} was not fetched to its end, or holds files that do not fit; "
            f"fetch it with: longtake models pull {entry.name}"
        )
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{entry.name}: {folder / missing[0]}{more} is missing; fetch it with: longtake models pull {entry.name}"
            f"{' --codec tae' if entry.codec == 'tae' else ''}"
        )
    part, words = transformer_of(entry, folder)
    lora = lora_of(entry, folder, part.tensors)
    if lora is not None:
        part = replace(part, tensors=merged(part.tensors, [(lora, 1.0)]))
    transformer = part.loaded(dtype)
    text = _umt5(folder, text_on or device, dtype) if words is None else words.loaded(torch.float32).to(device).eval()
    codec = _codec(entry, folder, device, dtype)
    if float8:
        keep_in_float8(transformer)
    ready = _ready(transformer, device, offloaded=offloaded)
    generator = Generator(entry.rollout, ready, text, codec, emphasis=text.emphasis, loras=MergedLoras(ready))
    weights, decoded_by = fingerprints(entry, folder)
    return Model(entry, generator, weights, text.read, codec=decoded_by)


def fingerprints(entry: Entry, folder: Path) -> tuple[str, str]:
    """Return what identifies the weights of an entry and those of its codec; OSError if one of the files is missing."""
    weights = [folder / name for name in (entry.weights.file, entry.weights.lora) if name is not None]
    match entry.codec:
        case "tiny":
            codec_files = [folder / entry.name / "codec.safetensors"]
        case "tae":
            codec_files = [tae_file(entry, folder)]
        case "wan":
            codec_files = [folder / "vae"]
    return _fingerprint(weights), _fingerprint(codec_files)


def random_model(
    entry: Entry, device: torch.device, dtype: torch.dtype, *, float8: bool = False, offloaded: bool = False
) -> Model:
    """Build the entry at full size with random weights, the same each time, to measure speed without files.

    With `float8` the transformer's blocks keep their weights in that type; `offloaded` they wait in the host's memory.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # else every card of the machine is set up
        torch.manual_seed(0)
        return _random_model(entry, device, dtype, float8=float8, offloaded=offloaded)


def _random_model(entry: Entry, device: torch.device, dtype: torch.dtype, *, float8: bool, offloaded: bool) -> Model:
    with torch.device("cpu" if offloaded else device):
        previous = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            transformer = CausalWanTransformer(**entry.transformer)
            if entry.driving_features is not None:
                transformer.add_driving_attention(entry.driving_features)
            if float8:
                keep_in_float8(transformer)
        finally:
            torch.set_default_dtype(previous)
    length = 512 if entry.text == "umt5" else 20

    def encode(prompts: list[str]) -> Tensor:
        seed = int.from_bytes(hashlib.blake2b(prompts[0].encode(), digest_size=4).digest(), "big")
        embedded = torch.randn(1, length, entry.transformer["text_dim"], generator=torch.Generator().manual_seed(seed))
        embedded[:, USUAL_WORDS:] = 0
        return embedded

    codec: Codec
    if entry.codec == "tiny":
        codec = _decoding_in(dtype, TinyCodec(TINY_CODECS[entry.name]).to(device).eval())
    elif entry.codec == "tae":
        codec = _decoding_in(dtype, TinyCodec(TAE[entry.transformer["out_channels"]]).to(device).eval())
    else:
        from models.codecs.wan import WanCodec, random_network

        codec = WanCodec(random_network(entry.transformer["out_channels"]).to(device).eval(), dtype)
    ready = _ready(transformer, device, offloaded=offloaded)
    generator = Generator(entry.rollout, ready, encode, codec)
    return Model(entry, generator, "random", any_prompt)


def _ready(transformer: CausalWanTransformer, device: torch.device, *, offloaded: bool) -> CausalWanTransformer:
    transformer.eval().requires_grad_(requires_grad=False)
    if not offloaded:
        return transformer.to(device)
    transformer.offload_blocks(device)
    return transformer


def _codec(entry: Entry, folder: Path, device: torch.device, dtype: torch.dtype) -> Codec:
    if entry.codec == "tiny":
        return _decoding_in(dtype, load_tiny_codec(folder / entry.name / "codec.safetensors").to(device))
    if entry.codec == "tae":
        return _decoding_in(dtype, _tiny(tae_of(entry, folder)).to(device))
    from models.codecs.wan import WanCodec

    network = wan_codec_of(folder / "vae").loaded(torch.float32)
    return WanCodec(network.to(device).eval(), dtype)


def _decoding_in(dtype: torch.dtype, codec: TinyCodec) -> TinyCodec:
    """Have a codec decode in the precision of the model on a CPU, where it takes half of a chunk's time."""
    if codec.mean.device.type == "cpu":  # a GPU decodes in a few milliseconds, and its engines are made from float32
        codec.decoder.to(dtype)
    return codec


def load_tiny_codec(file: Path) -> TinyCodec:
    """Load a tiny codec from a safetensors file whose metadata holds its configuration, in float32."""
    return _tiny(tiny_codec_of(file))


def _tiny(part: Component[TinyCodec]) -> TinyCodec:
    codec = TinyCodec(part.module.config)  # not on the meta device: it has buffers that no file holds
    load_into(codec, part.tensors, part.path)
    return codec.eval()


def _umt5(folder: Path, device: torch.device, dtype: torch.dtype) -> UMT5Text:
    from models.text.umt5 import UMT5Text

    encoder = umt5_of(folder / "text_encoder").loaded(dtype)
    encoder.tie_weights()
    return UMT5Text(encoder.to(device), tokenizer_of(folder / "tokenizer"))


def _fingerprint(files: list[Path]) -> str:
    """Return an identifier of weights: a hash of the files, or of size, beginning and end of large ones."""
    digest = hashlib.blake2b(digest_size=8)
    for file in (part for path in files for part in (sorted(path.glob("*.safetensors")) if path.is_dir() else [path])):
        with file.open("rb") as f:
            size = f.seek(0, 2)
            digest.update(str(size).encode())
            for start in (0,) if size < 64 << 20 else (0, size - (16 << 20)):
                f.seek(start)
                digest.update(f.read(64 << 20 if size < 64 << 20 else 16 << 20))
    return digest.hexdigest()
