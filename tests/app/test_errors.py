"""Every error of the API has one shape, a status that follows its kind, and no folder of this machine."""

from __future__ import annotations

import errno
import logging

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

from app.errors import CROWDED, STATUS, ConflictError, NotAllowedError, NotFoundError, add_handlers
from app.log_output import LogLevel, configure
from models.catalog import UnknownModelError
from models.checkpoints.weight_files import CheckpointError
from models.errors import ErrorKind, UserError
from streaming.live.admission import FullError


class Body(BaseModel):
    number: int


def caused(error: Exception, cause: Exception) -> Exception:
    """Return an error as it is after `raise error from cause`."""
    error.__cause__ = cause
    return error


def answer(error: Exception) -> tuple[int, object]:
    """Status and `error` of the answer of an endpoint that raises."""
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    async def endpoint() -> None:
        raise error

    got = TestClient(app, raise_server_exceptions=False).get("/")
    body = got.json()
    assert list(body) == ["error"]
    return got.status_code, body["error"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("a size must be positive"), 400, "a size must be positive"),
        (NotAllowedError("no key"), 403, "no key"),
        (NotFoundError("no such take"), 404, "no such take"),
        (UnknownModelError("no model is called 'x'"), 404, "no model is called 'x'"),  # not in a KeyError's quotes
        (ConflictError("it has ended"), 409, "it has ended"),
        (CheckpointError("m: /srv/models/m/x.pt is missing"), 409, "m: x.pt is missing"),
        (UserError("one\ntwo"), 400, "one"),
        (HTTPException(415, "not this type"), 415, "not this type"),
        (RuntimeError("/srv/secret"), 500, "the server failed; its log says more"),
        (OSError(errno.EIO, "Input/output error", "/srv/secret"), 500, "the server failed; its log says more"),
        (OSError(errno.EMFILE, "Too many open files", "/srv/x"), 503, CROWDED[1]),
        (caused(UserError("not a sound file"), OSError(errno.ENFILE, "File table overflow")), 503, CROWDED[1]),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/x"), 507, "the server's disk is full"),
    ],
)
def test_an_error_is_one_line_with_a_status_of_its_kind(error: Exception, status: int, said: str) -> None:
    assert answer(error) == (status, said)


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(ErrorKind)


def test_a_busy_device_gives_a_ticket_and_a_place() -> None:
    status, error = answer(FullError("t1", 2))
    assert (status, error) == (503, {"message": "the device is busy; place 2 in line", "ticket": "t1", "place": 2})


def test_a_malformed_body_names_the_field_and_not_the_input() -> None:
    app = FastAPI()
    add_handlers(app)

    @app.post("/")
    async def endpoint(body: Body) -> None: ...

    got = TestClient(app).post("/", json={"number": "secret"})
    assert got.status_code == 422
    assert got.json()["error"].startswith("number: ")
    assert "secret" not in got.text


def test_refused_requests_are_in_the_log_from_level_info_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure(LogLevel.INFO)
    answer(NotFoundError("no such take"))
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "no such take" in x]
    assert "INFO app.errors: GET '/' answered with 404: no such take" in line
    configure(LogLevel.WARNING)
    answer(NotFoundError("no such take"))
    assert "no such take" not in capsys.readouterr().err


def test_other_libraries_show_warnings_alone_and_uvicorn_its_requests_only_for_debugging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure(LogLevel.INFO)
    assert not logging.getLogger("aioice.ice").isEnabledFor(logging.INFO)
    assert logging.getLogger("uvicorn.error").isEnabledFor(logging.INFO)
    assert not logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    configure(LogLevel.DEBUG)
    assert logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    assert logging.getLogger("streaming.transport.peers").isEnabledFor(logging.DEBUG)
    configure(LogLevel.WARNING)


def test_the_key_in_a_sockets_address_is_not_in_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "uvicorn", "uvicorn.access", "uvicorn.error"):  # servers of other tests may have set theirs up
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    configure(LogLevel.DEBUG)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "::1:5", "/api/sessions/1/stream?key=abc")
    logging.getLogger("uvicorn.access").info('%s - "%s %s" %d', "::1:5", "GET", "/api/takes?key=abc&x=/y", 200)
    said = capsys.readouterr().err
    assert "abc" not in said
    assert '"WebSocket /api/sessions/1/stream" [accepted]' in said
    assert '"GET /api/takes" 200' in said
    configure(LogLevel.WARNING)
