"""Turn errors into HTTP answers of one shape, `{"error": "one line"}`.

The status depends on the `kind` of a UserError; its message is sent without this machine's folders. A lack of file
descriptors, memory or room on the disk is none of a request's faults, whatever error it led to: 503 or 507. Any other
exception is a defect: its traceback is logged, and the caller gets one line.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from models.errors import ErrorKind, UserError
from streaming.background_renders import QuotaError
from streaming.live.admission import FullError
from streaming.live.waiting_line import CrowdedLineError
from streaming.render_process import without_folders

log = logging.getLogger(__name__)

RETRY_AFTER = "2"  # seconds, unless the error states another delay; a place in line is kept for 10

STATUS: Mapping[ErrorKind, int] = {
    ErrorKind.INVALID: 400,
    ErrorKind.NOT_ALLOWED: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.BUSY: 503,
    ErrorKind.BAD_GATEWAY: 502,
}

CROWDED = (503, "the server has too many files and connections open; try again later")
LACKS: Mapping[int, tuple[int, str]] = {
    errno.EMFILE: CROWDED,
    errno.ENFILE: CROWDED,
    errno.ENOBUFS: CROWDED,
    errno.ENOMEM: (503, "the server has too little memory; try again later"),
    errno.ENOSPC: (507, "the server's disk is full"),
    errno.EDQUOT: (507, "the server's disk is full"),
}


class InvalidRequestError(UserError):
    """Report a request whose parts contradict each other or the model."""


class NotFoundError(UserError):
    """Report that nothing has the requested name or id."""

    kind = ErrorKind.NOT_FOUND


class NotAllowedError(UserError):
    """Report a request that needs a key which it does not carry."""

    kind = ErrorKind.NOT_ALLOWED


class ConflictError(UserError):
    """Report a request that the state of its session or take does not permit."""

    kind = ErrorKind.CONFLICT


class VideoError(UserError):
    """Report what is wrong with an order, in which field and under which code of the contract."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        """Create the error with one line for a person."""
        super().__init__(message)
        self.param, self.code = param, code


class UnknownVideoError(VideoError):
    """Report that a key has no video, or a server no model, of this name."""

    kind = ErrorKind.NOT_FOUND


class UnsupportedError(VideoError):
    """Report a part of the contract that is not served."""


def validation_message(error: ValidationError | RequestValidationError) -> str:
    """Return the first validation error in one line, without the input, which may be large or no JSON."""
    first: dict[str, Any] = dict(error.errors()[0])
    field = ".".join(field_name(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def field_name(sent: object) -> str:
    """Return the name of a field as an answer tells it: a client may send any characters, and any number of them."""
    return "".join(c if c.isprintable() else "?" for c in str(sent)[:40])


def user_message(error: UserError) -> str:
    """Return what an error tells a client: its first line, without folders of this machine."""
    return without_folders(str(error).splitlines()[0][:400])


def add_handlers(app: FastAPI) -> None:
    """Register handlers that answer every error of the API in the same form."""
    app.add_exception_handler(Exception, _defect)
    app.add_exception_handler(OSError, _system_error)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http_error)


def _answer(request: Request, status: int, error: object, headers: Mapping[str, str] | None = None) -> JSONResponse:
    log.info("%s %r answered with %d: %s", request.method, request.url.path[:200], status, error)
    sent = {"Retry-After": RETRY_AFTER} if status in (429, 503) else {}
    return JSONResponse({"error": error}, status, headers={**sent, **(headers or {})})


async def _defect(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %r failed", request.method, request.url.path[:200], exc_info=error)
    return JSONResponse({"error": "the server failed; its log says more"}, 500)


def lack(error: BaseException | None) -> tuple[int, str] | None:
    """Return status and message if an error, or one that it was raised from, is a lack of the system's resources."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and error.errno in LACKS:
            return LACKS[error.errno]
        error = error.__cause__ or error.__context__
    return None


async def _system_error(request: Request, error: Exception) -> JSONResponse:
    if (lacking := lack(error)) is None:
        return await _defect(request, error)
    log.warning("%s %r met %s", request.method, request.url.path[:200], error)
    return _answer(request, *lacking)


async def _user_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)
    if (lacking := lack(error)) is not None:
        return _answer(request, *lacking)
    message = user_message(error)
    if isinstance(error, VideoError):
        kind = "not_found_error" if error.kind is ErrorKind.NOT_FOUND else "invalid_request_error"
        facts = {"message": message, "type": kind, "param": error.param, "code": error.code}
        return _answer(request, STATUS[error.kind], facts)
    if isinstance(error, FullError):  # a client stays in line with the ticket
        return _answer(request, 503, {"message": message, "ticket": error.ticket, "place": error.place})
    return _answer(request, 429 if isinstance(error, CrowdedLineError | QuotaError) else STATUS[error.kind], message)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    status = 400 if request.scope["route"].path.startswith("/v1/") else 422  # as its contract has it
    return _answer(request, status, validation_message(error))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, error.headers)
