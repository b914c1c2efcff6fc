"""The base class of every error whose message is meant for a person."""

from __future__ import annotations


class UserError(Exception):
    """An error that a person can mend: its message is one line that says what is wrong and what to do.

    Commands print the message and exit 1; the HTTP API answers with it. Any other exception is a defect and keeps its
    traceback.
    """
