"""Messages that are no commands are refused with a reason in one line."""

from __future__ import annotations

import pytest

from streaming.transport.commands import MESSAGE_LIMIT, ControlError, parse


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 20_000,
        '{"type":"prompt","id":1,"text":""}',
        '{"type":"prompt","id":1,"text":"  "}',
        '{"type":"prompt","id":-1,"text":"x"}',
        '{"type":"prompt","id":1,"text":"x","blend":0}',
        '{"type":"prompt","id":1,"text":5}',
        '{"type":"prompt","id":1,"text":"x","extra":1}',
        '{"type":"rewind","id":1,"latent":"3"}',
        '{"type":"rewind","id":1,"latent":1e400}',
        '{"type":"recall","id":1,"latent":10000001}',
        '{"type":"lora","id":1,"name":"a\\n","scale":1}',
        '{"type":"set","id":1,"name":"chunk","value":"3"}',
        '{"type":"set","id":1,"name":"anchor","value":"floating"}',
        '{"type":"look_ahead","id":1,"value":"far"}',
        '{"type":"launch","id":1}',
        '{"type":"pause"}',
        b"\xff\xfe",
        '{"type":"prompt","id":1,"text":"' + "x" * 4001 + '"}',
        "x" * 20_000,
    ],
)
def test_a_malformed_command_is_refused_in_one_line(message: str | bytes) -> None:
    with pytest.raises(ControlError) as e:
        parse(message)
    assert "\n" not in str(e.value)
    assert "validation error" not in str(e.value)  # the line says what is wrong, not which library says so
    assert len(str(e.value)) < 300


@pytest.mark.parametrize("letter", ["x", "é", "語"])
def test_a_message_is_limited_by_its_bytes(letter: str) -> None:
    text = letter * (MESSAGE_LIMIT // len(letter.encode()))
    with pytest.raises(ControlError) as e:
        parse(text)
    assert "bytes" not in str(e.value)  # it is refused as no command, not for its length
    with pytest.raises(ControlError, match="at most 16384 bytes"):
        parse(text + letter * 2)
