"""Hold the commands, one module each.

Heavy imports stand inside functions, so that help and errors appear without delay.
"""

from __future__ import annotations

from models.errors import UserError


class CommandError(UserError):
    """Report that a command cannot do what it is asked."""
