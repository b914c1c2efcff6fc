"""`--engine torch:compiled` draws what torch draws, says how long compiling took, and keeps what was compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import tiny_model

from app import loaded_model
from exporters.artifacts import ExportError
from exporters.asked_engine import Asked
from exporters.compiled_torch import KEPT_IN, compiled
from exporters.rollouts import roll, script
from models.checkpoints.assemble import Model
from models.transformer import CausalWanTransformer
from streaming.rollout import record_of

CPU = torch.device("cpu")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what this process has compiled, and the place where the environment keeps it."""
    torch._dynamo.reset()
    monkeypatch.setenv(KEPT_IN, "")
    monkeypatch.delenv(KEPT_IN)
    yield
    torch.compiler.set_stance("default")


def latents(model: Model) -> torch.Tensor:
    return torch.cat([drawn for _, drawn in roll(model, script(4, 4, (2,)))], 2)


@pytest.mark.long
def test_a_take_is_that_of_torch_and_its_record_says_how_it_was_drawn(fresh: None, tmp_path: Path) -> None:
    plain, said = tiny_model(), list[str]()
    exact, record = latents(plain), record_of(plain, CPU)
    model = compiled(plain, tmp_path, said.append)
    assert 0 < (latents(model) - exact).abs().max() + 1e-12 < 1e-4
    assert record_of(model, CPU) == record | {"blocks": "compiled"}
    assert re.fullmatch(r"engine: torch with compiled blocks, ready after \d+\.\d s", said[0])
    assert list((tmp_path / "compiled").rglob("*.so")), "what was compiled is kept for the next start"
    assert compiled(model, tmp_path, said.append) is model
    assert len(said) == 1, "it is compiled once"


def test_without_a_compiler_one_line_says_what_to_do(fresh: None, tmp_path: Path) -> None:
    refused = pytest.raises(ExportError, match=r"torch cannot compile blocks here \(.+\); use --engine torch$")
    model = tiny_model()
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}), refused as raised:
        compiled(model, tmp_path, print)
    assert "\n" not in str(raised.value)
    assert "blocks" not in record_of(model, CPU)
    assert torch.equal(latents(model), latents(tiny_model())), "the model still draws, uncompiled"


def test_the_option_names_it_beside_precisions() -> None:
    assert Asked.parse("torch:compiled") == Asked("torch", "compiled")
    with pytest.raises(ExportError, match="engine onnx knows fp32, fp16, int8, not 'compiled'"):
        Asked.parse("onnx:compiled")


def test_a_model_is_loaded_with_compiled_blocks_where_the_option_says_so(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loaded_model, "engines_folder", lambda: tmp_path)
    torch.compiler.set_stance("force_eager")  # what is compiled is another test's
    for engine, as_asked in (("torch", False), ("torch:compiled", True)):
        network = loaded_model.readings(lambda _: tiny_model(), CPU, engine).in_torch().generator.transformer
        assert isinstance(network, CausalWanTransformer)
        assert network.compiled is as_asked
