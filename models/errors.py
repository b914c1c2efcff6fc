"""Define the base class of every error whose message is meant for a person."""

from __future__ import annotations

from enum import Enum, auto
from typing import ClassVar


class ErrorKind(Enum):
    """Name what sort of obstacle an error reports; the HTTP API chooses its status by it."""

    INVALID = auto()  # the input is wrong
    NOT_FOUND = auto()  # nothing has that name
    NOT_ALLOWED = auto()  # the caller has no right to it
    CONFLICT = auto()  # the state of what is asked for does not permit it, as of a model whose files are missing
    BUSY = auto()  # possible later, without any change
    BAD_GATEWAY = auto()  # a program or server of another maker, which this needs, failed


class UserError(Exception):
    """Report what a person can mend: the message is one line that says what is wrong and what to do.

    Commands print the message and exit 1; the HTTP API answers with it and with the status of its `kind`. Any other
    exception is a defect and keeps its traceback.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INVALID

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the error as it is, for another process; exceptions are else made anew from their message alone."""
        return _again, (type(self), self.args, dict(self.__dict__))

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__  # not KeyError's, which puts it in quotes


def _again(kind: type[UserError], arguments: tuple[object, ...], facts: dict[str, object]) -> UserError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error
