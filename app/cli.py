"""The command line: which command is which function of `app.commands`, and how errors are told."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve everything else on shared cores

import typer

from app.commands import evaluate, models, render, serve
from models.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Video that never has to stop."
)
app.command()(render.render)
app.command()(render.avatar)
app.command()(evaluate.bench)
app.command()(serve.serve)
app.command()(models.export)
app.command("eval")(evaluate.evaluate)
app.command("eval-avatar")(evaluate.evaluate_avatar)

models_app = typer.Typer(no_args_is_help=True, help="What the catalog holds.")
models_app.command("list")(models.list_models)
models_app.command("show")(models.show_model)
models_app.command("pull")(models.pull_model)
app.add_typer(models_app, name="models")


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def main() -> None:
    """Run a command; what a person can mend is one line and exit code 1, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except UserError as e:
        raise SystemExit(_failed(str(e.args[0] if e.args else e))) from None
    except OSError as e:
        raise SystemExit(_failed(f"{e.filename or 'file'}: {e.strerror or e}")) from None


if __name__ == "__main__":
    main()
