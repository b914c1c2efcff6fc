"""Refuse values that are invalid for every option, before a command reads its options."""

from __future__ import annotations

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """Parse a command line, refusing values that are empty or not text, such as file names in another encoding."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse a command line; raise typer.BadParameter with the option and the fault of its value."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.get_params(ctx):
            value = given.get(parameter.name or "")
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, str) and (wrong := _wrong(one)):
                    raise typer.BadParameter(wrong, ctx, param_hint=f"'{parameter.opts[-1]}'")
        return super().parse_args(ctx, args)


def _wrong(value: str) -> str | None:
    if not value.strip():
        return "must not be empty"
    if "\0" in value:
        return "must not contain a null character"
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        return "is not text in the encoding of this terminal"
    return None
