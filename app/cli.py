"""Define the command line: register the functions of `app.commands` as commands, and report errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve everything else on shared cores

import typer
from typer.exceptions import Abort, TyperException

from app import __version__
from app.commands import avatar, bench, evaluate, export, farm, models, render, serve
from app.commands.command import Command
from app.output_streams import as_line, make_unfailing
from models.errors import UserError

FAILED, INTERRUPTED = 1, 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command(cls=Command)(render.render)
app.command(cls=Command)(farm.farm)
app.command(cls=Command)(avatar.avatar)
app.command(cls=Command)(serve.serve)
app.command(cls=Command)(bench.bench)
app.command(cls=Command)(export.export)
app.command("eval", cls=Command)(evaluate.evaluate)
app.command("eval-avatar", cls=Command)(evaluate.evaluate_avatar)

models_app = typer.Typer(help="List, show and pull the models of the catalog.", rich_markup_mode=None)
models_app.command("list", cls=Command)(models.list_models)
models_app.command("show", cls=Command)(models.show_model)
models_app.command("pull", cls=Command)(models.pull_model)
models_app.command("add", cls=Command)(models.add_model)
app.add_typer(models_app, name="models")


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


models_app.callback(invoke_without_command=True)(_help_without_command)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(f"longtake {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def longtake(
    context: typer.Context,
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
    _help_without_command(context)


def main() -> None:
    """Run a command, and report each error that a person can mend as one line on standard error.

    The exit code is 2 for a command line that cannot be read, 130 after Ctrl-C, and 1 for every other error. A defect
    keeps its traceback.
    """
    make_unfailing()
    try:
        code = app(prog_name="longtake", standalone_mode=False)  # the code of typer.Exit, None of a finished command
    except KeyboardInterrupt:  # outside a command; typer turns one inside a command into the code
        code = INTERRUPTED
    except Abort:
        code = _failed("stopped")
    except TyperException as e:
        code = _failed(f"{e.format_message().rstrip('.')} (see --help)", e.exit_code)
    except UserError as e:
        code = _failed(str(e))
    except OSError as e:
        code = _failed(f"{e.filename or 'file'}: {e.strerror or e}")
    except (MemoryError, RuntimeError) as e:
        if not _is_out_of_memory(e):
            raise
        code = _failed(f"out of memory: {str(e).strip().partition(chr(10))[0] or 'a smaller size or model needs less'}")
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    raise SystemExit(code or 0)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether Python or torch ran out of memory; on a CPU only torch's message tells."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _failed(message: str, code: int = FAILED) -> int:
    print(f"error: {as_line(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
