"""The generated description of commands and events is complete and up to date."""

from __future__ import annotations

from streaming.transport.commands import COMMANDS
from streaming.transport.describe import ROOT, files, protocol
from streaming.transport.events import EVENTS


def test_the_generated_files_match_the_models() -> None:
    for path, text in files(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is old: run python -m streaming.transport.describe"


def test_every_message_is_documented_and_has_its_own_type() -> None:
    described = protocol()
    assert len(described.commands) == len(COMMANDS.json_schema()["oneOf"])
    assert len(described.events) == len(EVENTS.json_schema()["oneOf"])
    for messages in (described.commands, described.events):
        kinds = [message.kind for message in messages]
        assert len(set(kinds)) == len(kinds)
    for message in [*described.commands, *described.events, *described.parts]:
        assert message.about.endswith(".")


def test_types_say_which_fields_may_be_absent_and_which_may_be_null() -> None:
    types = files(ROOT)[ROOT / "app" / "page" / "types.d.ts"]
    assert "  first_pts?: number | null;" in types
    assert "  recorded_s: number | null;" in types
    assert '  type: "live";' in types
    assert 'export type SessionState = "warming" | "live" | "paused" | "ended" | "failed";' in types
