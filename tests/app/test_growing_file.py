"""A download of a file that changes meanwhile has the length that its header promised."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.growing_file import BLOCK, wav_so_far
from streaming.speech.soundtrack import header


@pytest.mark.parametrize("blocks", [3, 12])
def test_a_sound_that_grows_or_shrinks_during_its_download_has_the_promised_length(tmp_path: Path, blocks: int) -> None:
    (tmp_path / "a.wav").write_bytes(header(4 * BLOCK) + b"\1" * (8 * BLOCK))

    async def downloaded() -> bytes:
        answer = wav_so_far(tmp_path / "a.wav")
        got = b""
        async for part in answer.body_iterator:
            got += bytes(part)
            if len(got) == 44 + BLOCK:  # as an interruption or new speech does
                with (tmp_path / "a.wav").open("r+b") as file:
                    file.write(header(blocks * BLOCK // 2))
                    file.truncate(44 + blocks * BLOCK)
        assert len(got) == int(answer.headers["content-length"]) == 44 + 8 * BLOCK
        return got

    got = asyncio.run(downloaded())
    assert got[:44] == header(4 * BLOCK)
    assert set(got[44 : 44 + blocks * BLOCK]) == {1}
    assert set(got[44 + blocks * BLOCK :]) <= {0}  # interrupted sound is silence
