"""Options say with which codec and within which memory a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_model

from app.commands.options import fitting_of
from app.fitting import Fitting, RoomError
from app.memory_size import MemorySizeError, parsed_memory
from models.catalog import find
from models.catalog_entry import CodecError
from models.checkpoints.assemble import Model

CARD = torch.device("meta")  # any device but a CPU; a plan allocates nothing


@pytest.mark.parametrize(("text", "size"), [("12GB", 12e9), (" 11.5 GiB ", 11.5 * 2**30), ("0.1gb", 1e8)])
def test_a_size_of_memory_is_read_as_people_write_it(text: str, size: float) -> None:
    assert parsed_memory(text) == size


@pytest.mark.parametrize("text", ["12", "GB", "-1GB", "1e3GB", "0GB", "9999GB", "12 MB", "١٢GB"])
def test_other_texts_are_no_size(text: str) -> None:
    with pytest.raises(MemorySizeError, match="is no memory of a card such as 12GB"):
        parsed_memory(text)


def test_a_model_is_fitted_into_the_memory_that_is_named() -> None:
    plan = fitting_of(None, "9GB").plan(find("longlive-1.3b"), CARD, torch.bfloat16)
    assert plan.text_on_cpu
    assert plan.entry.codec == "tae"


def test_a_model_that_fits_no_way_says_what_was_tried() -> None:
    with pytest.raises(RoomError, match=r"krea-14b needs \d+\.\d GB, and the card has 12\.0 GB, even so: the text enc"):
        fitting_of(None, "12GB").plan(find("krea-14b"), CARD, torch.bfloat16)


def test_without_the_option_a_model_is_fitted_into_what_is_free_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds 60 of 80 GB; 4 GB are reserved for this process, which uses one of them."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (16e9, 80e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 4e9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1e9)
    card = torch.device("cuda")
    assert Fitting().plan(find("longlive-1.3b"), card, torch.bfloat16).total <= 19e9
    assert Fitting().plan(find("longlive-1.3b"), card, torch.bfloat16).text_on_cpu
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6e9, 80e9))
    with pytest.raises(RoomError, match=r"krea-14b needs \d+\.\d GB, and the card has 9\.0 GB free, even so: the text"):
        Fitting().plan(find("krea-14b"), card, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (76e9, 80e9))
    assert Fitting().plan(find("longlive-1.3b"), card, torch.bfloat16).notes == ()


@pytest.mark.parametrize("slowly", [False, True])
def test_a_model_is_loaded_as_it_was_fitted_and_what_was_changed_is_told(slowly: bool) -> None:
    model, asked, told = tiny_model(), list[tuple[object, ...]](), list[str]()

    def load(*parts: object, float8: bool, offloaded: bool) -> Model:
        asked.append((*parts, float8, offloaded))
        return model

    fitting, entry, folder = Fitting(room=24e9, slowly=slowly), find("krea-14b"), Path("weights")
    assert fitting.load(entry, folder, CARD, torch.bfloat16, told.append, load) is model
    plan = fitting.plan(entry, CARD, torch.bfloat16)
    assert (plan.text_on_cpu, plan.float8, plan.offloaded) == (True, not slowly, slowly)
    assert asked == [(plan.entry, folder, CARD, torch.bfloat16, torch.device("cpu"), not slowly, slowly)]
    assert told == [f"krea-14b: {note}" for note in plan.notes]
    told.clear()
    Fitting(room=200e9).load(entry, folder, CARD, torch.bfloat16, told.append, load)
    assert (asked[-1], told) == ((entry, folder, CARD, torch.bfloat16, CARD, False, False), [])


def test_a_cpu_has_no_memory_of_a_card() -> None:
    with pytest.raises(MemorySizeError, match="this runs on the CPU"):
        fitting_of(None, "12GB").plan(find("pocket"), torch.device("cpu"), torch.float32)


def test_only_a_server_lets_other_models_keep_their_codec() -> None:
    with pytest.raises(CodecError, match="pocket has no codec 'tae'"):
        Fitting("tae").plan(find("pocket"), CARD, torch.float32)
    assert Fitting("tae", among_others=True).plan(find("pocket"), CARD, torch.float32).entry.codec == "tiny"
    assert Fitting("tae", among_others=True).plan(find("memflow"), CARD, torch.float32).entry.codec == "tae"


def test_a_render_in_the_background_is_fitted_in_the_same_way() -> None:
    fitting = fitting_of("tae", "11.5GiB")
    options = dict(zip(fitting.options[::2], fitting.options[1::2], strict=True))
    again = fitting_of(options["--codec"], options["--vram"])
    assert again.codec == "tae"
    assert again.room == pytest.approx(fitting.room, rel=1e-3)
