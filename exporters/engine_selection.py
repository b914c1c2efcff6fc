"""Choose the engine that runs a model here: the fastest whose parity is good, timed once and remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporters.artifacts import ExportError, Key, Store, read_json, write_json
from exporters.asked_engine import TORCH, Asked
from exporters.engine_modules import Say, Variant, with_engine
from exporters.engine_registry import exported, key_of, start
from exporters.parity import timing
from models.checkpoints.assemble import Model

TIMED = 3  # chunks of every engine


@dataclass(frozen=True)
class InTorch:
    """Give a model as torch runs it fastest, in another precision than the one that engines are made from."""

    load: Callable[[], Model]
    precision: str = ""  # empty: in the same one


def choose(model: Model, asked: Asked, store: Store, say: Say, in_torch: InTorch | None = None) -> Model:
    """Return the model, run by the engine that was asked for; say in one line which that is.

    Engines are found by the weights of `model`; `in_torch` gives the model that is returned where torch runs it. `auto`
    looks among the engines that were exported and whose parity is good; an engine without a precision among that
    engine's. A pinned engine with a precision runs in any case, or ExportError says what is missing.
    """
    plain = in_torch or InTorch(lambda: model)
    if asked.engine == TORCH:
        return plain.load()
    if asked.precision:
        variant = Variant(asked.engine, asked.precision)
        found = with_engine(model, start(model, variant, store))
        say(f"engine: {variant} (asked for)")
        return found
    here = [v for v in exported(model, store) if asked.engine in ("auto", v.engine)]
    if asked.engine != "auto" and not here:
        start(model, Variant(asked.engine, "int8"), store)  # says what is missing, and how to make it
    return _fastest(model, plain, here, store, say, pinned=asked.engine != "auto")


def _fastest(model: Model, plain: InTorch, here: list[Variant], store: Store, say: Say, *, pinned: bool) -> Model:
    good = [v for v in here if is_good(model, v, store)]
    if pinned and not good and here:
        asked = ", ".join(map(str, here))
        say(f"note: the parity of {asked} was not measured or is not good; it runs because it was asked for")
        good = here
    if not good:
        return plain.load()
    names = {str(v): v for v in good}
    memory = store.folder / f"choice-{_name([key_of(model, v) for v in good], plain.precision, pinned=pinned)}.json"
    known, started = read_json(memory), {}
    if not isinstance(known, dict) or known.get("engine") not in {TORCH, *names}:
        started = _started(model, good, store, say)
        if not started:
            if pinned:
                raise ExportError(f"none of {', '.join(names)} can be started; make it anew with longtake export")
            return plain.load()
        known = _timed(plain.load(), started, pinned=pinned)
        if len(started) == len(good):  # an engine that failed today may start tomorrow, and was then never timed
            _remember(memory, known, say)
    if known["engine"] == TORCH:
        say(f"engine: {TORCH}, none of {', '.join(names)} is faster here")
        return plain.load()
    winner = names[known["engine"]]
    try:
        found = started.get(str(winner)) or with_engine(model, start(model, winner, store))
    except ExportError as e:
        rest = [v for v in good if v != winner]
        if pinned and not rest:
            raise
        say(f"note: {e}")
        if not rest:
            say(f"engine: {TORCH}")
            return plain.load()
        return _fastest(model, plain, rest, store, say, pinned=pinned)
    say(f"engine: {winner}, {known['speed']:.1f}x {TORCH}")
    return found


def _started(model: Model, variants: list[Variant], store: Store, say: Say) -> dict[str, Model]:
    """Return the model by each engine that starts; for each of the others, say why it does not."""
    found = {}
    for variant in variants:
        try:
            found[str(variant)] = with_engine(model, start(model, variant, store))
        except ExportError as e:
            say(f"note: {e}")
    return found


def _timed(model: Model, started: dict[str, Model], *, pinned: bool) -> dict[str, str | float]:
    found = timing({TORCH: model, **started}, TIMED)
    seconds = {name: t.chunk + t.decode for name, t in found.items()}
    engines = {n: s for n, s in seconds.items() if n != TORCH or not pinned}
    best = min(engines, key=lambda n: engines[n])
    return {"engine": best, "speed": round(seconds[TORCH] / seconds[best], 2)}


def _remember(memory: Path, known: dict[str, str | float], say: Say) -> None:
    """Remember a choice; a folder that cannot be written, as in a read-only image, only costs timing at every start."""
    try:
        write_json(memory, known)
    except ExportError as e:
        say(f"note: the choice is not remembered; {e}")


def is_good(model: Model, variant: Variant, store: Store) -> bool:
    """Return whether the artifact's parity was measured and allows it to be a default."""
    verdict = read_json(store.beside(key_of(model, variant), "parity.json"))
    return (
        isinstance(verdict, dict) and verdict.get("good") is True and verdict.get("key") == key_of(model, variant).name
    )


def _name(keys: list[Key], precision: str, *, pinned: bool) -> str:
    text = json.dumps([[k.name for k in keys], pinned, *([precision] if precision else [])])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
