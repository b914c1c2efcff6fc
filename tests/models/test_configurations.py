"""Refuse invalid configurations in or beside a weight file in one line, before any module is built."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, TINY_CODEC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.catalog import POCKET
from models.checkpoints.assemble import load_tiny_codec
from models.checkpoints.components import transformer_of, wan_codec_of
from models.checkpoints.weight_files import CheckpointError
from models.codecs.tiny import TinyCodec
from models.errors import UserError
from models.pocket import weights
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    weights.save_codec(TinyCodec(TINY_CODEC), folder / "codec.safetensors", [])
    pair = CausalWanTransformer(**TINY), WordText(("red", "ball"), 16)
    weights.save_transformer(*pair, folder / "transformer.safetensors", [{"steps": 1}])
    return folder


def with_config(file: Path, config: Any, to: Path) -> Path:
    save_file(load_file(file), to, {"config": config if isinstance(config, str) else json.dumps(config)})
    return to


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([0, 1, 2, 8, 10**9]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(st.sampled_from([*asdict(TINY_CODEC), "more"]), VALUES, max_size=3) | VALUES)
def test_no_configuration_of_a_codec_ends_in_anything_but_a_codec_or_a_line(
    files: Path, tmp_path: Path, changed: Any
) -> None:
    config = asdict(TINY_CODEC) | changed if isinstance(changed, dict) else changed
    file = with_config(files / "codec.safetensors", config, tmp_path / "codec.safetensors")
    for read in (load_tiny_codec, weights.load_codec):
        refused = ""
        try:
            read(file)
        except UserError as e:
            refused = str(e)
        assert "\n" not in refused


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changed=st.dictionaries(st.sampled_from([*TINY, "more"]), VALUES, max_size=2),
    whole=st.dictionaries(st.sampled_from(["words", "drive", "transformer"]), VALUES, max_size=2) | VALUES,
)
def test_no_configuration_of_pocket_ends_in_anything_but_a_model_or_a_line(
    files: Path, tmp_path: Path, changed: dict[str, Any], whole: Any
) -> None:
    config: Any = {"transformer": TINY | changed, "words": ["red", "ball"]}
    config = config | whole if isinstance(whole, dict) else whole
    file = with_config(files / "transformer.safetensors", config, tmp_path / "transformer.safetensors")
    refused = ""
    try:
        weights.load_transformer(file)
    except UserError as e:
        refused = str(e)
    assert "\n" not in refused


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["base_dim", "z_dim", "dim_mult", "num_res_blocks", "attn_scales", "latents_mean", "_x"]),
        VALUES,
    )
    | VALUES
)
def test_no_configuration_of_wans_codec_ends_in_anything_but_a_codec_or_a_line(tmp_path: Path, config: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as e:
        wan_codec_of(tmp_path)
    assert "\n" not in str(e.value)


def test_a_key_of_neither_part_of_pocket_is_refused(files: Path, tmp_path: Path) -> None:
    tensors = load_file(files / "transformer.safetensors") | {"more.weight": torch.ones(1)}
    (tmp_path / "pocket").mkdir()
    save_file(tensors, tmp_path / POCKET.weights.file, {"config": '{"words": ["red", "ball"]}'})
    with pytest.raises(CheckpointError, match=r"unexpected more\.weight"):
        transformer_of(POCKET, tmp_path)


def test_weights_in_shards_are_checked_like_one_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = CausalWanTransformer(**TINY), WordText(("red", "ball"), 16)
    path = tmp_path / "transformer.safetensors"
    weights.save_transformer(*pair, path, [{"steps": 1}], shard_bytes=20_000)
    assert weights.history(path) == [{"steps": 1}]
    first = min(tmp_path.glob("transformer-00001-of-*"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match="is cut short"):
        weights.load_transformer(path)
    first.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        weights.load_transformer(path)
    first.write_bytes(whole)
    index = path.with_name(path.name + ".index.json")
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"metadata": [1]}))
    with pytest.raises(CheckpointError, match="metadata are no texts"):
        weights.load_transformer(path)
    index.write_text(json.dumps(content))
    weights.join_shards(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    loaded = weights.load_transformer(path)[0].state_dict()
    assert all(torch.equal(loaded[k], v.half().float()) for k, v in pair[0].state_dict().items())


@pytest.mark.parametrize("training", [None, "", "{", "3", "[3]"])
def test_a_file_that_does_not_say_how_it_was_trained_is_one_line(tmp_path: Path, training: str | None) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", None if training is None else {"training": training})
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        weights.history(tmp_path / "a.safetensors")
