"""`longtake serve --ray` says what is wrong before anything is loaded; without it Ray is never imported."""

from __future__ import annotations

import ast
import os
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from studio_server import ROOT, serving

from app.commands import CommandError
from app.commands.cluster_options import numbers_of


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_what_is_missing_is_told_in_one_line() -> None:
    with pytest.raises(CommandError, match=r"Ray is not installed; pip install 'longtake\[cluster\]'"):
        numbers_of("auto", None, None, None)


def test_wrong_options_of_a_cluster_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.cluster_options.find_spec", lambda _: object())
    for address in ("somewhere", "http://host:1", "", "host:port"):
        with pytest.raises(CommandError, match="no address such as"):
            numbers_of(address, None, None, None)
    with pytest.raises(CommandError, match="--osc"):
        numbers_of("auto", None, None, "9000")
    for workers in ("0", "3..2", "many", "1..", "-1", ""):
        with pytest.raises(CommandError, match="no number such as 2"):
            numbers_of("auto", workers, None, None)
    for workers, spare in (("2", None), (None, 1)):
        with pytest.raises(CommandError, match="give its address as --ray"):
            numbers_of(None, workers, spare, None)
    assert numbers_of("10.0.0.7:6379", "2", None, None) == (2, 2, 1)
    assert numbers_of("auto", None, 0, None) == (1, 8, 0)


def test_one_module_imports_ray() -> None:
    importing = []
    for room in ("app", "streaming", "models", "exporters"):
        for file in (ROOT / room).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
            names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
            importing += [str(file.relative_to(ROOT)) for name in names if name.partition(".")[0] == "ray"]
    assert set(importing) == {"app/cluster/ray_fleet.py"}


@pytest.mark.long
def test_a_server_without_the_option_never_imports_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoy, data, imported = tmp_path / "decoy", tmp_path / "data", tmp_path / "imported"
    decoy.mkdir()
    data.mkdir()
    (decoy / "ray.py").write_text(f"open({str(imported)!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(decoy), os.environ.get("PYTHONPATH", "")]))
    with serving(data) as (address, _):
        begun = httpx.post(f"{address}/api/sessions", json={"prompt": "a red ball"}, timeout=30)
        assert begun.status_code == 201
        assert httpx.get(address).status_code == 200
    assert not imported.exists()
