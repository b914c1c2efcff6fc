"""Imports between rooms run one way, as docs/architecture.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("app", "streaming", "models", "exporters")
ALLOWED = {
    "app": {"app", "streaming", "models", "exporters"},
    "streaming": {"streaming", "models"},
    "exporters": {"exporters", "models"},
    "models": {"models"},
}
# what tells time, runs beside something else or reaches another machine
TIMELESS = {"threading", "asyncio", "socket", "time", "datetime", "multiprocessing", "concurrent", "queue", "signal"}
PROGRAMS = ("models/pocket/training/", "models/judge/")  # they train and measure, and print how long it took


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found
    return found


def imported(file: Path) -> set[str]:
    """The full names of modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_its_arrows_point_to(room: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): sorted(forbidden)
        for file in files(room)
        if (forbidden := (top(imported(file)) & set(ROOMS)) - ALLOWED[room])
    }
    assert wrong == {}


def test_one_file_of_app_knows_the_exporters() -> None:
    assert [str(f.relative_to(ROOT)) for f in files("app") if "exporters" in top(imported(f))] == [
        "app/engine_choice.py"
    ]


def test_one_file_of_the_farm_knows_ray() -> None:
    """Ray is an extra: what never asks for it must run without it."""
    knowing = [str(f.relative_to(ROOT)) for room in ROOMS for f in files(room) if "ray" in top(imported(f))]
    assert [name for name in knowing if not name.startswith("app/cluster/")] == ["app/ray_workers.py"]


def test_only_app_knows_gradio_fastapi_and_typer() -> None:
    doors = {"gradio", "fastapi", "typer", "uvicorn"}
    rooms = ("streaming", "models", "exporters")
    assert [str(f) for room in rooms for f in files(room) if top(imported(f)) & doors] == []


def test_models_knows_no_clock_thread_or_socket() -> None:
    wrong = {
        str(name): sorted(forbidden)
        for file in files("models")
        if not str(name := file.relative_to(ROOT)).startswith(PROGRAMS)
        and (forbidden := top(imported(file)) & TIMELESS)
    }
    assert wrong == {}


def test_the_model_itself_imports_neither_its_pocket_training_nor_its_judge() -> None:
    wrong = [
        str(name)
        for file in files("models")
        if not str(name := file.relative_to(ROOT)).startswith(("models/pocket/", "models/judge/"))
        and any(n.startswith(("models.pocket", "models.judge")) for n in imported(file))
    ]
    assert wrong == []


def test_the_environment_is_read_in_two_places() -> None:
    """`LONGTAKE_MODELS` is read where programs below `app` need it, everything else in app/settings.py."""
    readers = []
    for room in ROOMS:
        for file in files(room):
            source = ast.parse(file.read_text(encoding="utf-8"))
            reads = [
                node
                for node in ast.walk(source)
                if (isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"))
                or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ")
            ]
            if reads:
                readers.append(str(file.relative_to(ROOT)))
    assert readers == ["models/checkpoints/folders.py"]
    assert "os.environ" in (ROOT / "app" / "settings.py").read_text(encoding="utf-8")
