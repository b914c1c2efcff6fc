"""Offer the server's main actions as endpoints of the studio's Gradio page, for `gradio_client` and plain HTTP.

Gradio documents them at /?view=api. They do what the routes of the HTTP API do, which has more (docs/api.md).
"""

# without `from __future__ import annotations`: Gradio reads types from the objects, not from their names

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from app.dependencies import controlled_avatar
from app.errors import user_message, validation_message
from app.gradio_import import gr
from app.routes import avatars, renders, sessions
from app.services import Services
from models.errors import UserError
from streaming.transport.commands import PromptCommand

WAITING = 64  # calls that may wait for their turn, of all endpoints together
POLL_SECONDS = 0.5  # between two reports of a render
_ASKERS = frozenset({"gradio"})  # its calls have places in line together: Gradio does not say who calls
_numbers = itertools.count(secrets.randbelow(2**32) * 2**20)  # of commands, apart from those of other senders


def add_endpoints(services: Services) -> None:
    """Add the endpoints to the page that is being built (`gr.Blocks`)."""

    async def models() -> list[dict[str, Any]]:
        """List the models: size, frame rate, memory, whether the files are on the server, and known words.

        Returns:
            One object for each model of the catalog.
        """
        return [_data(facts) for facts in services.library.facts()]

    async def start(prompt: str, model: str = "pocket", seed: int | None = None) -> dict[str, Any]:
        """Start a session, which draws a film live until it is ended or nobody watches or commands it.

        Parameters:
            prompt: What the film shows; for an avatar a face such as `ada` instead.
            model: Name of a model.
            seed: Number that the noise is drawn from, 0 to 2**63 - 1; a random one without it.
        Returns:
            The session's id, its key, which controls it, its take, its seed, and a note if something is not understood.
        """
        with _errors():
            known = {facts.name: facts.speaks for facts in services.library.facts()}
            said = {"face": prompt} if known.get(model) else {"prompt": prompt}
            new = sessions.NewSession.model_validate({**said, "model": model, "seed": seed})
            return _data(await sessions.create_session(new, services, _ASKERS))

    async def prompt(
        session: str,
        key: str,
        text: str,
        blend: int = 1,
        cut: bool = False,  # noqa: FBT001, FBT002 - Gradio passes values by position
    ) -> dict[str, Any]:
        """Change the prompt of a running session at its next chunk.

        Parameters:
            session: Id of the session.
            key: Key of the session.
            text: What the film shows from now on.
            blend: Chunks over which the new prompt takes over, 1 to 64.
            cut: Whether a new scene begins, which shares nothing with the picture before.
        Returns:
            The number of the command, which the session's events repeat.
        """
        with _errors():
            hosted = services.controlled(session, key)
            command = PromptCommand(id=next(_numbers), type="prompt", text=text, blend=blend, cut=cut)
            hosted.session.obey(command)
            return {"accepted": command.id}

    async def avatar_say(session: str, key: str, text: str) -> dict[str, Any]:
        """Have the avatar of a running session speak a text, after what it is saying.

        Parameters:
            session: Id of the session.
            key: Key of the session.
            text: What it says, at most 2000 characters.
        Returns:
            The length of the speech in seconds.
        """
        with _errors():
            hosted = services.controlled(session, key)
            with services.sessions.answering(hosted):
                avatar = await controlled_avatar(hosted)
                return _data(await avatars.say(avatars.Text(text=text), avatar, services))

    async def render(take: str) -> AsyncIterator[dict[str, Any]]:
        """Render a take in full, in the background; reports come until its film is done or the render has failed.

        Parameters:
            take: Id of a take of the server, which a session has made.
        Returns:
            State, chunks done and chunks in all, and at last `film`, the path of the MP4 on this server.
        """
        with _errors():
            progress = await renders.render(take, await services.take(take), services)
            while progress is not None:
                over = progress.state in ("done", "cancelled", "failed")
                film = f"api/takes/{take}/film" if progress.state == "done" else None
                yield {"state": progress.state, "done": progress.done, "chunks": progress.chunks, "film": film}
                if over and progress.state != "done":
                    raise gr.Error(progress.why or f"the render was {progress.state}", print_exception=False)
                if over:
                    break
                await asyncio.sleep(POLL_SECONDS)
                progress = services.renders.progress(take)

    for endpoint in (models, start, prompt, avatar_say, render):
        words = " ".join((endpoint.__doc__ or "").split())  # Gradio alone shows the first line
        gr.api(endpoint, api_name=endpoint.__name__, api_description=words, concurrency_limit=WAITING)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn the errors of routes into those that Gradio sends to its client, in one line each."""
    try:
        yield
    except ValidationError as e:
        raise gr.Error(validation_message(e), print_exception=False) from None
    except HTTPException as e:
        raise gr.Error(str(e.detail), print_exception=False) from None
    except UserError as e:
        raise gr.Error(user_message(e), print_exception=False) from None


def _data(answer: BaseModel) -> dict[str, Any]:
    """Return the answer of a route as JSON data, without what is not known."""
    return answer.model_dump(mode="json", exclude_none=True)
