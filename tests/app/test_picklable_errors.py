"""Every error for a person survives the way into another process."""

from __future__ import annotations

import importlib
import pickle
import pkgutil

import app
import exporters
import models
import streaming
from app.errors import VideoError
from models.errors import UserError
from streaming.live.admission import FullError

NOT_INSTALLED = ("app.client.pipecat", "app.ray_workers")  # they need pipecat-ai and ray, which tests do without


def subclasses(kind: type[UserError]) -> set[type[UserError]]:
    return {kind} | {below for one in kind.__subclasses__() for below in subclasses(one)}


def test_every_error_for_a_person_is_the_same_after_pickling() -> None:
    for room in (app, streaming, models, exporters):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if module.name not in NOT_INSTALLED and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds = subclasses(UserError)
    assert len(kinds) > 40
    for kind in kinds:
        error = kind.__new__(kind, "one line")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, str(again), again.kind) == (kind, ("one line",), "one line", kind.kind)


def test_what_an_error_knows_besides_its_message_is_pickled() -> None:
    full = pickle.loads(pickle.dumps(FullError("t1", 3, "memory")))
    assert (full.ticket, full.place, str(full)) == ("t1", 3, "the device is busy; place 3 in line: memory")
    video = pickle.loads(pickle.dumps(VideoError("seconds: no", param="seconds", code="x")))
    assert (video.param, video.code, str(video)) == ("seconds", "x", "seconds: no")
