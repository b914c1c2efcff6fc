"""Read strict JSON (RFC 8259), and report with line and column what is wrong with it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from streaming.take.text_file import TakeError


class _RefusedError(ValueError):
    """Carry a message about a value out of a hook of the JSON reader."""


def json_value(text: str, name: str, first_line: int = 1) -> Any:
    """Return the value of a JSON text; TakeError if it is not JSON, or has a key twice or too large a number.

    `name` is the file's name and `first_line` the number of the line on which the text begins.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_fraction, parse_int=_whole
        )
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as e:
        where = f"{name}:{first_line + e.lineno - 1}:{e.colno}"
        raise TakeError(f"{where}: not valid JSON ({_reason(text, e)})") from e
    except _RefusedError as e:
        raise TakeError(f"{name}:{first_line}: {e}") from e
    except UnicodeEncodeError as e:
        what = "half a character stands alone (a surrogate, as in \\ud83d)"
        raise TakeError(f"{name}:{first_line}: {what}; type it anew") from e
    except RecursionError as e:
        raise TakeError(f"{name}:{first_line}: not valid JSON (values are nested too deeply)") from e
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RefusedError(f"{key[:60]!r} stands twice in one object; leave one of them out")
        found[key] = value
    return found


def _no_number(word: str) -> NoReturn:
    raise _RefusedError(f"{word} is no number in JSON; write a number")


def _fraction(digits: str) -> float:
    value = float(digits)
    if abs(value) == float("inf"):
        raise _RefusedError(f"the number {digits[:40]} is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > 30:
        raise _RefusedError(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _reason(text: str, error: json.JSONDecodeError) -> str:
    here, before = text[error.pos : error.pos + 2], text[: error.pos].rstrip()
    if not text[error.pos :].strip():
        return "it ends in the middle; a bracket or a quotation mark is not closed"
    if here[:1] in ("]", "}") and before.endswith(","):
        return f"a comma before {here[0]}; leave it out"
    if here[:1] == "'" or here[:1] in "“”„«":
        return f'{here[0]} stands where " is wanted'
    if here[:1] == "#" or here == "//" or here == "/*":
        return "a comment, which JSON has none of; leave it out"
    if error.msg == "Extra data":
        return "more follows what should be the end; one object a line"
    return error.msg[:1].lower() + error.msg[1:]
