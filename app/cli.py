"""The command line: which command is which function of `app.commands`, and how errors are reported."""

from __future__ import annotations

import os
import sys
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve everything else on shared cores

import typer

from app import __version__
from app.commands import avatar, bench, evaluate, export, models, render, serve
from models.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(render.render)
app.command()(avatar.avatar)
app.command()(serve.serve)
app.command()(bench.bench)
app.command()(export.export)
app.command("eval")(evaluate.evaluate)
app.command("eval-avatar")(evaluate.evaluate_avatar)

models_app = typer.Typer(no_args_is_help=True, help="List, show and pull the models of the catalog.")
models_app.command("list")(models.list_models)
models_app.command("show")(models.show_model)
models_app.command("pull")(models.pull_model)
app.add_typer(models_app, name="models")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(f"longtake {__version__}")
        raise typer.Exit


@app.callback()
def longtake(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            help="show the version and exit",
            callback=lambda value: _print_version(wanted=value),
        ),
    ] = False,
) -> None:
    """Make video that never has to stop."""


def main() -> None:
    """Run a command; an error that a person can mend is one line on standard error and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except UserError as e:
        raise SystemExit(_failed(str(e))) from None
    except OSError as e:
        raise SystemExit(_failed(f"{e.filename or 'file'}: {e.strerror or e}")) from None


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
