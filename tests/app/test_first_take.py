"""What a session cannot begin with is refused before a device is asked: the API names it as the commands do."""

from __future__ import annotations

from typing import Any

import pytest

from app.routes.sessions import NewSession, first_take
from models.catalog import AVATAR, POCKET
from models.errors import UserError

PICTURE = "iVBORw0KGgo="


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"size": "127x127"}, "not a multiple of 32x32"),
        ({"size": "1x1"}, "not a multiple of 32x32"),
        ({"size": "32000x32000"}, "too large"),
        ({"size": "0x64"}, "not a size"),
        ({"face": "ada"}, "pocket is none"),
        ({"portrait": PICTURE}, "pocket is none"),
    ],
)
def test_a_session_that_a_model_cannot_draw_is_refused(body: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        first_take(NewSession(prompt="a red ball", **body), POCKET)


def test_a_session_of_an_avatar_takes_a_face() -> None:
    assert first_take(NewSession(face="ada"), AVATAR).model == "pocket-avatar"
