"""Turn pydantic's validation errors about a take into messages for the writer of the file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import ErrorDetails

from streaming.take.yaml_data import nearest


def complaint(error: ErrorDetails, of_take: Collection[str], of_cue: Collection[str]) -> str:
    """Return one message about a field of a take file: what is wrong, what was found and what is allowed.

    `of_take` and `of_cue` are the names of the fields that a take and a cue may have.
    """
    found, limits = _named(error["input"]), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            fields = of_cue if error["loc"][0] == "cues" else of_take
            return f"no such field; {nearest(str(error['loc'][-1]), fields)}"
        case "missing":
            return "is missing"
        case "string_type":
            return f"needs a text, not {found}"
        case "int_type" | "int_from_float":
            return f"needs a whole number, not {found}"
        case "bool_type":
            return f"needs true or false, not {found}"
        case "list_type":
            return f"needs a list, not {found}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"needs fields with values, such as `prompt: ...`, not {found}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}, not {found}"
        case "less_than_equal":
            return f"must be at most {limits['le']}, not {found}"
        case "less_than":
            return f"must be less than {limits['lt']}, not {found}"
    return error["msg"].removeprefix("Value error, ")


def _named(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
    return repr(value)[:60]
