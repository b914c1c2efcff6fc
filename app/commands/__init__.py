"""Hold the commands, one module each; heavy imports stand inside functions, so that help and errors come at once."""

from __future__ import annotations

from models.errors import UserError


class CommandError(UserError):
    """Report that a command cannot do what it is asked."""
