"""The files of docs/deployment name what is there: options, variables, ports, paths, extras, and nothing else."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app import cli, security
from app.settings import OWN_PATHS, from_environment
from models.checkpoints.assemble import ASSETS

ROOT = ASSETS.parent
FOLDER = ROOT / "docs" / "deployment"
DOCKERFILES = ["Dockerfile.cpu", "Dockerfile.cuda"]
COMPOSES = ["compose.yaml", "compose.cuda.yaml"]
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
VARIABLES = set(re.findall(r"^\| `(LONGTAKE_[A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
OURS = re.compile(r"\bLONGTAKE_[A-Z_]+\b")
HOST = "LONGTAKE_HOST"  # of compose's own .env: it goes into the command


def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def composed(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text(name))
    return read


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the options of `longtake` with these words; a usage error if it does not know one."""
    group: Any = typer.main.get_command(cli.app)
    command = group.commands[words[0]]
    return command.make_context(words[0], [word.replace(f"${{{HOST}}}", "h.example") for word in words[1:]]).params


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments."""
    lines = re.sub(r"\\\n", " ", "\n".join(x for x in text(name).splitlines() if not x.startswith("#")))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines.splitlines() if line.strip())]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_made_of_what_is_there_and_starts_a_server_of_its_port_and_folder(name: str) -> None:
    steps = instructions(name)
    known = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in steps} <= known
    copied = [rest.split()[0:-1] for word, rest in steps if word == "COPY" and not rest.startswith("--from")]
    names = {name for sources in copied for name in sources}
    assert [name for name in names if not (ROOT / name).exists()] == []
    let_in = {line[1:] for line in text(f"{name}.dockerignore").splitlines() if line.startswith("!")}
    assert names == let_in
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"'\.\[([\w,]+)\]'", text(name))
    assert [extra for extra in asked[0].split(",") if extra not in extras] == []
    last = dict(steps)
    assert json.loads(last["ENTRYPOINT"]) == ["longtake"]
    options = parsed(json.loads(last["CMD"]))
    assert (str(options["port"]), options["host"]) == (last["EXPOSE"], "0.0.0.0")
    assert options["data"].is_relative_to(last["VOLUME"])
    assert f":{last['EXPOSE']}/healthz" in last["HEALTHCHECK"]
    assert last["USER"] not in ("root", "0")
    pins = re.findall(r"torch==([\d.]+)", text(name))
    assert pins == re.findall(r"torch==([\d.]+) &&", (ROOT / "README.md").read_text())[:1]


@pytest.mark.parametrize("name", COMPOSES)
def test_composed_services_name_options_files_and_variables_that_exist(name: str) -> None:
    services = composed(name)["services"]
    options = parsed(services["longtake"].get("command", ["serve", "--public-url", "https://h.example"]))
    assert options["port"] == 7860
    assert options["public_url"] == "https://h.example"
    assert (ROOT / services["longtake"]["build"]["dockerfile"]).exists()
    for service in services.values():
        for volume in service.get("volumes", []):
            source = str(volume).partition(":")[0]
            assert not source.startswith("./") or (FOLDER / source).exists()
    given = {variable for service in services.values() for variable in service.get("environment", {})}
    assert given <= VARIABLES
    wanted = set(re.findall(r"\$\{(\w+)", text(name)))
    assert wanted <= {line.partition("=")[0] for line in text(".env.example").splitlines()}


def test_what_compose_gives_the_server_are_settings_that_it_takes() -> None:
    given = composed("compose.yaml")["services"]["longtake"]["environment"]
    filled = {name: re.sub(r"\$\{\w+[^}]*\}", "value.example", value) for name, value in given.items()}
    settings = from_environment(filled)
    assert settings.proxies == ("127.0.0.1",)
    assert [server.addresses for server in settings.ice_servers] == [
        ["turn:value.example:3478", "turn:value.example:3478?transport=tcp"]
    ]
    assert settings.turn_secret == "value.example"
    port = re.findall(r"^listening-port=(\d+)", text("turnserver.conf"), re.MULTILINE)
    assert all(f":{port[0]}" in address for server in settings.ice_servers for address in server.addresses)


def test_every_variable_that_a_file_names_is_one_and_the_document_lists_all() -> None:
    for file in FOLDER.iterdir():
        assert set(OURS.findall(file.read_text(encoding="utf-8"))) - {HOST} <= VARIABLES, file.name
    rows = set(re.findall(r"^\| `(LONGTAKE_[A-Z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert rows == VARIABLES


def test_nginx_accepts_its_configuration_and_lets_through_what_the_server_takes(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert nginx, "this test needs nginx: apt-get install nginx-light"
    read = text("nginx.conf")
    assert set(re.findall(r"proxy_pass (\S+);", read)) == {"http://127.0.0.1:7860"}
    megabytes = int(re.findall(r"client_max_body_size (\d+)m;", read)[0])
    assert megabytes << 20 >= security.FILE_LIMIT
    assert "metrics" not in OWN_PATHS  # one that no public path hides
    without_tls = re.sub(r" ssl;|ssl_certificate\S* .*;", lambda m: ";" if m[0] == " ssl;" else "", read)
    (tmp_path / "nginx.conf").write_text(without_tls.replace("/run/nginx.pid", str(tmp_path / "pid")))
    (tmp_path / "mime.types").write_text("types { text/html html; }")
    checked = subprocess.run(
        [nginx, "-t", "-e", str(tmp_path / "log"), "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True
    )
    assert "syntax is ok" in checked.stderr, checked.stderr


def test_coturn_knows_every_option_of_its_configuration() -> None:
    assert shutil.which("turnserver"), "this test needs coturn: apt-get install coturn"
    told = subprocess.run(["turnserver", "-h"], capture_output=True, text=True).stdout
    known = set(re.findall(r"--([a-z-]+[a-z])", told))
    lines = [line.lstrip("# ") for line in text("turnserver.conf").splitlines() if re.match(r"#? ?[a-z-]+(=|$)", line)]
    used = {line.partition("=")[0] for line in lines}
    given = {word[2:].partition("=")[0] for word in composed("compose.yaml")["services"]["coturn"]["command"][2:]}
    assert len(used) > 10
    assert sorted(used | given) == sorted((used | given) & known)


def test_the_unit_starts_a_server_with_options_that_exist() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text("longtake.service"))
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "longtake"
    options = parsed(words)
    assert str(options["data"]).startswith(f"/var/lib/{service['StateDirectory']}/")
    assert (options["host"], options["port"]) == ("127.0.0.1", 7860)
    given = {pair.partition("=")[0] for pair in service["Environment"].split()}
    assert given - {"XDG_DATA_HOME"} <= VARIABLES
    assert int(service["TimeoutStopSec"]) > 3  # longer than the server gives requests


def test_the_document_tells_of_every_file() -> None:
    files = {file.name for file in FOLDER.iterdir()} - {f"{name}.dockerignore" for name in DOCKERFILES}
    named = set(re.findall(r"\]\(deployment/([\w.-]+)\)", DOCUMENT))
    assert files <= named | {".env.example"}
