"""Speak with a program that reads a text from its standard input and writes raw sound to its standard output.

The program is started anew for each sentence, without a shell, and killed with the processes that it started as soon as
its sound is not needed any more. On Linux the kernel kills it when the server ends, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from streaming.speech.fullband import PcmReader, Samples
from streaming.speech.voices.text_voice import VoiceError, VoiceWish

PATIENCE = 30.0  # seconds in which the next sound, or the end, has to come
BLOCK = 8192  # bytes read at a time
MOST_ERRORS = 4096  # bytes of the newest error output that are kept
# runs a program that the kernel kills when the thread that started it has ended: the server's event loop
_BOUND = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class ProgramVoice:
    """Speak with a program (TextVoice)."""

    kind: ClassVar[str] = "command"

    def __init__(self, command: Sequence[str], rate: int, patience: float = PATIENCE) -> None:
        """Use a command and its arguments, whose sound is PCM of 16 bits, little-endian, mono, of `rate` a second."""
        bound = [sys.executable, "-I", "-S", "-c", _BOUND] if sys.platform == "linux" else []
        self._command, self._rate, self._patience = [*bound, *command], rate, patience
        self._name = os.path.basename(command[0])
        # what the server knows by its environment is none of the program's business
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("LONGTAKE_")}

    @property
    def ready(self) -> bool:
        """Return True: it was looked for at the start of the server."""
        return True

    async def speak(self, sentence: str, wish: VoiceWish) -> AsyncGenerator[Samples]:
        """Yield the program's sound while it is written."""
        wish.require_only(by=f"the program {self._name}")
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as e:
            raise VoiceError(f"the voice {self._name} cannot be started: {e.strerror}") from e
        others = [asyncio.create_task(_write(process, sentence)), asyncio.create_task(_errors(process))]
        try:
            async for samples in self._sound_of(process):
                yield samples
            async with asyncio.timeout(self._patience):
                code, said = await process.wait(), await others[1]
            if code:
                ending = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
                raise VoiceError(f"the voice {self._name} {ending}{f': {said}' if said else ''}")
        except TimeoutError:
            raise VoiceError(f"the voice {self._name} gave no sound for {self._patience:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for task in others:
                task.cancel()
            await asyncio.gather(process.wait(), *others, return_exceptions=True)

    async def _sound_of(self, process: asyncio.subprocess.Process) -> AsyncGenerator[Samples]:
        assert process.stdout is not None
        reader = PcmReader(self._rate)
        while True:
            async with asyncio.timeout(self._patience):
                pcm = await process.stdout.read(BLOCK)
            if not pcm:
                break
            if reader.samples == 0 and pcm.startswith(b"RIFF"):
                raise VoiceError(f"the voice {self._name} writes a WAV file; have it write raw samples of 16 bits")
            yield reader.add(pcm)
        yield reader.rest()


async def _write(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a program may know enough before the end
        process.stdin.write(text.encode(errors="replace") + b"\n")
        await process.stdin.drain()
    process.stdin.close()


async def _errors(process: asyncio.subprocess.Process) -> str:
    """Return the last line of what a program writes as errors, empty if there is none."""
    assert process.stderr is not None
    newest = b""
    while said := await process.stderr.read(MOST_ERRORS):
        newest = (newest + said)[-MOST_ERRORS:]
    lines = newest.decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else ""
