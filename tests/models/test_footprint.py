"""Memory and disk of a model are known before it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import catalog
from models.block_offload import PLACES
from models.cache import RingCache
from models.cache_shape import CacheShape
from models.catalog import ENTRIES, Entry
from models.checkpoints.assemble import ASSETS, load
from models.checkpoints.footprint import disk_bytes, footprint, memory_bytes
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE
from models.codecs.wan import random_network
from models.float8_weights import keep_in_float8
from models.transformer import CausalWanTransformer

META = torch.device("meta")


def test_memory_is_what_the_loaded_weights_take() -> None:
    model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
    transformer, codec = model.generator.transformer, model.generator.codec
    assert isinstance(codec, TinyCodec)
    weights = sum(p.numel() * 4 for p in transformer.parameters())
    cache = 2 * 8 * (12 + 3) * 64 * 320 * 4  # keys and values of 8 layers, 12 latents of 8x8 tokens, the sink twice
    assert memory_bytes(catalog.POCKET, 4) == weights + cache + sum(p.numel() * 4 for p in codec.parameters())


def counted_cache(entry: Entry, dtype: torch.dtype) -> int:
    """Return the bytes of a cache's buffers and its sink before rotation, made on the meta device."""
    t, r = entry.transformer, entry.rollout
    rows, columns = entry.size[1] // entry.stride // 2, entry.size[0] // entry.stride // 2
    sizes = {"layers": t["num_layers"], "heads": t["num_attention_heads"], "head_dim": t["attention_head_dim"]}
    shape = CacheShape(rows=rows, columns=columns, grid=r.grid, window=r.window, sink=r.sink, batch=r.rows, **sizes)
    cache = RingCache(shape, r.anchor, META, dtype)
    buffers = sum(t.nbytes for t in (*cache._keys, *cache._values))
    return buffers + (0 if r.step_keys else cache.anchor_bytes)


@pytest.mark.parametrize("name", [n for n in ENTRIES if not n.startswith("pocket")])
@pytest.mark.parametrize("codec", ["wan", "tae"])
def test_every_part_is_within_a_tenth_of_what_is_counted_on_the_meta_device(name: str, codec: str) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    entry, dtype = ENTRIES[name].with_codec(codec), torch.bfloat16
    found, channels = footprint(entry, 2), entry.transformer["out_channels"]
    config = UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, is_gated_act=True
    )
    with META:
        text = UMT5EncoderModel(config)
        tae, wan = TinyCodec(TAE[channels]), random_network(channels)
    decodes = {id(p) for part in (wan.decoder, wan.post_quant_conv) for p in part.parameters()}
    of_wan = sum(p.numel() * (2 if id(p) in decodes else 4) for p in wan.parameters())
    of_tae = sum(p.numel() * 4 for p in tae.parameters())
    of_text = 2 * sum(p.numel() for p in {id(p): p for p in text.parameters()}.values())
    assert found.cache == pytest.approx(counted_cache(entry, dtype), rel=0.1)
    assert found.text_encoder == pytest.approx(of_text, rel=0.1)
    assert found.codec == pytest.approx(of_wan if codec == "wan" else of_tae, rel=0.1)


@pytest.mark.parametrize("name", ["longlive-1.3b", "longlive2-5b", "krea-14b"])
def test_weights_in_float8_are_within_a_tenth_of_what_is_counted_on_the_meta_device(name: str) -> None:
    entry = ENTRIES[name]
    with META:
        network = CausalWanTransformer(**entry.transformer).to(torch.bfloat16)
    plain = sum(t.nbytes for t in network.state_dict().values())
    keep_in_float8(network)
    rounded = sum(t.nbytes for t in network.state_dict().values())
    assert footprint(entry, 2).transformer == pytest.approx(plain, rel=0.01)
    assert footprint(entry, 2, float8=True).transformer == pytest.approx(rounded, rel=0.01)
    assert rounded < 0.55 * plain


@pytest.mark.parametrize("name", ["longlive-1.3b", "longlive2-5b", "krea-14b"])
@pytest.mark.parametrize("float8", [False, True])
def test_of_blocks_that_wait_in_the_hosts_memory_two_are_counted(name: str, float8: bool) -> None:
    entry = ENTRIES[name]
    with META:
        network = CausalWanTransformer(**entry.transformer).to(torch.bfloat16)
    if float8:
        keep_in_float8(network)
    blocks = [sum(t.nbytes for t in block.state_dict().values()) for block in network.layers()]
    rest = sum(t.nbytes for t in network.state_dict().values()) - sum(blocks)
    counted = footprint(entry, 2, float8=float8, offloaded=True).transformer
    assert counted == pytest.approx(rest + PLACES * blocks[0], rel=0.02)


def test_a_model_that_is_not_in_the_catalog_is_counted_with_what_drives_it() -> None:
    plain = replace(catalog.AVATAR, driving_features=None)
    model = load(catalog.AVATAR, ASSETS, torch.device("cpu"), torch.float32)
    driving = model.generator.transformer.driving_attention
    assert driving is not None
    more = sum(p.numel() for p in driving.parameters())
    assert memory_bytes(catalog.AVATAR, 4) - memory_bytes(plain, 4) == 4 * more


def test_a_large_model_counts_its_text_encoder() -> None:
    parts = footprint(catalog.LONGLIVE, 2)
    assert parts.text_encoder / 1e9 == pytest.approx(11.4, abs=0.1)
    assert parts.total / 1e9 == pytest.approx(2.8 + 11.4 + 3.45 + 0.86 + 0.4, abs=0.3)


def test_disk_is_that_of_the_files_or_nothing(tmp_path: Path) -> None:
    files = [ASSETS / "pocket" / f"{n}.safetensors" for n in ("codec", "transformer")]
    assert disk_bytes(catalog.POCKET, tmp_path) == sum(f.stat().st_size for f in files)
    assert disk_bytes(catalog.LONGLIVE, tmp_path) is None
