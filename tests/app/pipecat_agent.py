"""Run a Pipecat agent with a scripted mind and a Longtake avatar, and print what happened as JSON.

It runs in an environment with pipecat-ai, which `test_pipecat.py` makes: `python pipecat_agent.py ADDRESS SCENE`.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from avatar_client import Microphone, Viewer
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.workers.runner import WorkerRunner

from app.client.pipecat import LongtakeAvatar

LONG = (
    "The first thing to know about the sea is that it never stops moving. Waves come from winds far away. "
    "Some of them were born in a storm that nobody saw. They travel for days before they reach a beach."
)
SHORT = "Of course, let us talk about the moon instead."


class ScriptedMind(FrameProcessor):
    """Answer every context with the next text of a script, word by word, as a language model does."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__()
        self._answers = answers

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for word in self._answers.pop(0).split(" "):
            await self.push_frame(LLMTextFrame(word + " "))
        await self.push_frame(LLMFullResponseEndFrame())


class EspeakVoice(TTSService):
    """Speak with espeak-ng."""

    def __init__(self) -> None:
        settings = TTSSettings(model=None, voice="en", language=None)
        super().__init__(settings=settings, sample_rate=22_050, push_start_frame=True, push_stop_frames=True)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        process = await asyncio.create_subprocess_exec("espeak-ng", "--stdout", text, stdout=subprocess.PIPE)
        said, _ = await process.communicate()
        for begin in range(44, len(said), 4_410):  # behind the header of a WAV file
            yield TTSAudioRawFrame(said[begin : begin + 4_410], 22_050, 1, context_id=context_id)


def said(context: LLMContext) -> list[str]:
    """Return what the agent believes to have said."""
    return [str(m["content"]) for m in context.get_messages() if isinstance(m, dict) and m["role"] == "assistant"]


async def until(condition: Any, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def play(address: str, scene: str) -> dict[str, Any]:
    """Let the agent say LONG, interrupt it by the pipeline or by a voice at the avatar's microphone, or not at all."""
    async with httpx.AsyncClient() as client:
        how = {"model": "pocket-avatar", "detector": "energy"}
        started = (await client.post(f"{address}/api/sessions", json=how, timeout=60)).json()
    url = f"{address}/api/sessions/{started['id']}"
    context = LLMContext([])
    user, assistant = LLMContextAggregatorPair(context)
    avatar = LongtakeAvatar(address, started["id"], started["key"])
    pipeline = Pipeline([user, ScriptedMind([LONG, SHORT]), EspeakVoice(), avatar, assistant])
    worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    voice = Microphone(2.0) if scene == "voice" else None
    viewer = Viewer()
    await viewer.join(url, started["key"])

    async def ask(text: str) -> None:
        message = {"role": "user", "content": text}
        await worker.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))

    told: dict[str, Any] = {"version": importlib.metadata.version("pipecat-ai"), "script": [LONG, SHORT]}
    asked = time.monotonic()
    await ask("Tell me about the sea.")
    await until(lambda: bool(viewer.loud))
    told["first_sound_s"] = round(viewer.loud[0] - asked, 2)
    if scene == "whole":
        await until(lambda: bool(said(context)))
        told["since_last_sound_s"] = round(time.monotonic() - viewer.loud[-1], 2)
    else:
        await until(lambda: time.monotonic() - viewer.loud[0] > 3)
        speaker = Viewer(voice)
        at = time.monotonic()
        if voice is not None:
            await speaker.join(url, started["key"])
            await until(lambda: bool(voice.spoke))
            at = voice.spoke[0]
        else:
            await worker.queue_frame(InterruptionFrame())
        await until(lambda: bool(said(context)))
        told["heard_s"] = round(at - viewer.loud[0], 2)
        told["cut"] = said(context)[0]
        await asyncio.sleep(1)
        told["silent_after_ms"] = round(1000 * (max(t for t in viewer.loud) - at))
        if voice is not None:
            await speaker.leave()
        await ask("And the moon?")
        await until(lambda: len(said(context)) == 2)
    told["said"] = said(context)
    await worker.queue_frame(EndFrame())
    await asyncio.wait_for(running, 20)
    await viewer.leave()
    async with httpx.AsyncClient() as client:
        await client.delete(url, headers={"X-Longtake-Key": started["key"]})
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(sys.argv[1], sys.argv[2]))))
