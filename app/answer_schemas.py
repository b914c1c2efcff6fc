"""Describe answers that several endpoints share, errors and files, for the API schema (OpenAPI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


class ErrorAnswer(BaseModel):
    """Report an error that a caller can mend, or a failure of the server."""

    error: str
    """The error in one line for a person."""


class Place(BaseModel):
    """Hold a place in line for a busy device."""

    message: str
    ticket: str
    """Keeps the place if the same request is sent with it within 10 seconds."""
    place: int
    """1 is next."""


class BusyAnswer(BaseModel):
    """Report that the device is busy, with a place in line."""

    error: Place


Responses = dict[int | str, dict[str, Any]]  # as FastAPI takes it

ERRORS: Responses = {"4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}}
BUSY: Responses = {503: {"model": BusyAnswer, "description": "The device is busy"}}


def file_of(media_type: str, status: int = 200) -> Responses:
    """Return the OpenAPI description of an answer that is a file of this media type."""
    return {status: {"content": {media_type: {}}}}


def file_body() -> Mapping[str, Any]:
    """Return the OpenAPI description, for `openapi_extra`, of a request body that is a file, or a form with one."""
    form = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
    content = {"application/octet-stream": {}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def body_of(media_type: str) -> Mapping[str, Any]:
    """Return the OpenAPI description, for `openapi_extra`, of a request body of raw bytes of this media type."""
    return {"requestBody": {"required": True, "content": {media_type: {}}}}
