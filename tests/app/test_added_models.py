"""`longtake models add` puts weights of a known family into the catalog of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY as SMALL
from safetensors.torch import save_file

from app import cli
from app.known_models import find
from models import catalog
from models.checkpoints import added
from models.checkpoints.components import transformer_of
from models.checkpoints.wan_names import original_name
from models.transformer import CausalWanTransformer

LIKE = "longlive-1.3b"
TINY = SMALL | {"in_channels": 16, "out_channels": 16}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a small model in the catalog in place of the large one; give the folder of models."""
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path / "models"))
    before = set(catalog.ENTRIES)
    monkeypatch.setitem(catalog.ENTRIES, LIKE, replace(catalog.LONGLIVE, transformer=TINY))
    monkeypatch.setitem(added.LIKE, (48, 2, 16), LIKE)
    yield tmp_path / "models"
    for name in set(catalog.ENTRIES) - before:
        del catalog.ENTRIES[name]


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    argv, sys.argv = sys.argv, ["longtake", "models", *map(str, args)]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        sys.argv = argv
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def checkpoint(file: Path, **changes: int) -> CausalWanTransformer:
    torch.manual_seed(1)
    network = CausalWanTransformer(**TINY | changes)
    named = {"model." + original_name(k): v for k, v in network.state_dict().items()}
    torch.save({"generator": named, "generator_ema": named, "step": 1}, file)
    return network


def test_a_file_of_a_known_family_becomes_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    network = checkpoint(tmp_path / "My Finetune.pt")
    assert "several sets of weights" in run(capsys, "add", tmp_path / "My Finetune.pt")[2]
    code, out, _ = run(capsys, "add", tmp_path / "My Finetune.pt", "--wrapper", "generator_ema")
    assert code == 0
    assert "rolled out like longlive-1.3b" in out
    assert "my-finetune" in run(capsys, "list")[1]
    assert "keys and values" in run(capsys, "show", "my-finetune")[1]
    entry = find("my-finetune")
    assert entry.rollout == catalog.LONGLIVE.rollout
    assert entry.folder == LIKE
    part, _ = transformer_of(entry, tmp_path / "models" / LIKE)
    loaded = part.loaded(torch.float32).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())
    assert (
        "is called my-finetune already" in run(capsys, "add", tmp_path / "My Finetune.pt", "--wrapper", "generator")[2]
    )


def test_a_folder_of_diffusers_becomes_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    weights = {k: v.contiguous() for k, v in CausalWanTransformer(**TINY).state_dict().items()}
    save_file(weights, tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert run(capsys, "add", tmp_path / "transformer", "--name", "mine")[0] == 0
    assert transformer_of(find("mine"), tmp_path)[0].module is not None


def test_a_file_of_the_hub_is_added_to_be_pulled(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--like longlive-1.3b" in run(capsys, "add", "someone/weights:model.pt")[2]
    assert run(capsys, "add", "someone/weights:model.pt", "--like", LIKE, "--name", "theirs")[0] == 0
    entry = find("theirs")
    assert (entry.sources[0].repo, entry.sources[0].files, entry.folder) == ("someone/weights", ("model.pt",), "")
    assert not entry.sources[0].free


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"num_layers": 3}, (), "seems to be a Wan model of 16 channels in, 3 layers of width 48; what can be added"),
        ({}, ("--like", "krea-14b"), "cannot be rolled out like krea-14b"),
        ({}, ("--like", "nope"), "no model is called 'nope'"),
        ({}, ("--name", "Über"), "is no name of a model"),
        ({}, ("--name", LIKE), "is called longlive-1.3b already"),
    ],
)
def test_what_cannot_be_added_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, changes: dict[str, int], options: tuple[str, ...], says: str
) -> None:
    checkpoint(tmp_path / "m.pt", **changes)
    code, _, err = run(capsys, "add", tmp_path / "m.pt", "--wrapper", "generator", *options)
    assert code == 1
    assert says in err
    assert not (tmp_path / "models" / "added").exists()


def test_a_damaged_description_is_named(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "added").mkdir(parents=True)
    (here / "added" / "bad.json").write_text('{"name": 3}')
    assert "bad.json: describes no model" in run(capsys, "list")[2]
