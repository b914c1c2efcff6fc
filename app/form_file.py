"""Read the file of a form (multipart/form-data, RFC 7578) as it arrives, so that it is never held as a whole."""

from __future__ import annotations

from collections.abc import Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from models.errors import UserError

MEDIA_TYPE = "multipart/form-data"
MOST_HEADERS = 8 << 10  # bytes of the headers of a part


class FormError(UserError):
    """Report a form that is damaged, or that does not hold one file."""


def is_form(content_type: str) -> bool:
    """Return whether a body of this content type is a form."""
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


class FormFile:
    """Take in a form block by block, and hand on what its one file holds."""

    def __init__(self, content_type: str, write: Callable[[bytes], None]) -> None:
        """Read a form of this content type; `write` gets the file. FormError if its parts have no boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 70:
            raise FormError("the form names no boundary of its parts; send it as multipart/form-data")
        self.name: str | None = None  # as the form calls the file, once its headers were read
        self._write, self._ended = write, False
        self._field, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": lambda data, start, end: self._write(data[start:end]),
                "on_end": self._on_end,
            },
        )

    def feed(self, block: bytes) -> None:
        """Read a block; FormError if the form is damaged or holds anything but one file."""
        try:
            self._parser.write(block)
        except MultipartParseError:
            raise FormError("the form is damaged: its parts are not as its boundary says") from None

    def finish(self) -> str:
        """Return the name of the file once all has arrived; FormError if the form was cut short or holds no file."""
        if self.name is None or not self._ended:
            raise FormError("the form ends before a file does; send one file in it")
        return self.name

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._bound()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        if len(self._field) + len(self._value) + sum(map(len, self._headers.values())) > MOST_HEADERS:
            raise FormError(f"the headers of a part have at most {MOST_HEADERS >> 10} kB")

    def _on_header(self) -> None:
        self._headers[self._field.lower()], self._field, self._value = self._value, b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" not in options:
            field = options.get(b"name", b"").decode(errors="replace")[:40]
            raise FormError(f"the form has a field {field!r} that is no file; send one file in it")
        if self.name is not None:
            raise FormError("the form has several files; send one at a time")
        self.name = options[b"filename"].decode(errors="replace")

    def _on_end(self) -> None:
        self._ended = True
