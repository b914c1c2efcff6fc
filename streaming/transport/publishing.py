"""Publish the films of sessions to a WHIP receiver, anew whenever it comes back, until their sessions end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakValueDictionary

import httpx
from aiortc import RTCConfiguration

from streaming.live.session import Session
from streaming.transport.events import PublishingEvent, PublishingState
from streaming.transport.offer import OfferError
from streaming.transport.publish_target import PublishTarget
from streaming.transport.sent_film import SentFilm, SoundRefusedError
from streaming.transport.whip_receiver import Accepted, ReceiverError, ReceiverRefusalError, WhipReceiver

log = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a receiver is offered the film again; each doubles the last
SETTLED = 20.0  # seconds of a connection after which the pauses begin with the shortest again


class Publishing:
    """Publish each session that is begun. Sessions that have one address in common use it in turn."""

    def __init__(
        self,
        target: PublishTarget,
        ice: Callable[[], RTCConfiguration],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Publish to a target; `ice` gives the configuration of a connection, `transport` sends HTTP requests."""
        self._target, self._ice, self._transport = target, ice, transport
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by address, while it is used
        self._tasks: dict[Session, asyncio.Task[None]] = {}

    def begin(self, session: Session) -> None:
        """Publish a session's film from now on."""
        task = asyncio.get_running_loop().create_task(self._publish(session))
        self._tasks[session] = task
        task.add_done_callback(lambda _: self._tasks.pop(session, None))  # also of a task that never ran

    def end(self, session: Session) -> None:
        """Publish it no more; the receiver is told."""
        if (
            task := self._tasks.get(session)
        ) is not None and not task.cancelling():  # a second one would cut off DELETE
            task.cancel()

    @property
    def active(self) -> int:
        """Return how many sessions are published, or will be offered again."""
        return len(self._tasks)

    async def close(self) -> None:
        """Publish nothing more, and return when all receivers were told."""
        tasks = list(self._tasks.values())
        for session in list(self._tasks):
            self.end(session)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, session: Session) -> None:
        address = self._target.of(session.id)
        try:
            receiver = WhipReceiver(address, self._target.token, self._transport)
            turn = self._turns.setdefault(address, asyncio.Lock())
            if turn.locked():
                _tell(session, receiver.host, "waiting", "another session is published to the address")
            async with turn:
                await _Publication(session, receiver, self._ice).run()
        except Exception as e:
            _tell(session, "", "refused", _fault(session, e))


class _Publication:
    """Offer one session's film to one receiver until it is refused or cancelled."""

    def __init__(self, session: Session, receiver: WhipReceiver, ice: Callable[[], RTCConfiguration]) -> None:
        self._session, self._receiver, self._ice = session, receiver, ice
        self._sound = True
        self._live = False  # whether the newest connection came about
        self._pause = SHORTEST_PAUSE

    async def run(self) -> None:
        """Publish; return once the receiver refuses for good, and raise an error that would come with every offer.

        An error that nothing here expects may pass if the machine reports it (OSError), or if the film was live.
        """
        loop = asyncio.get_running_loop()
        while not self._session.over:
            began, wait = loop.time(), 0.0
            try:
                why = await self._once()
            except SoundRefusedError:
                self._sound = False
                continue
            except ReceiverRefusalError as e:
                _tell(self._session, self._receiver.host, "refused", str(e))
                return
            except OfferError as e:  # the receiver's answer cannot be used
                _tell(self._session, self._receiver.host, "refused", f"{self._receiver.host}: {e}")
                return
            except ReceiverError as e:
                why, wait = str(e), e.wait
            except Exception as e:
                if not (self._live or isinstance(e, OSError)):
                    raise
                why = _fault(self._session, e)
            if loop.time() - began > SETTLED:
                self._pause = SHORTEST_PAUSE
            wait, self._pause = max(wait, self._pause), min(2 * self._pause, LONGEST_PAUSE)
            _tell(self._session, self._receiver.host, "lost", why, wait)
            await asyncio.sleep(wait)

    async def _once(self) -> str:
        """Publish until the connection ends; return why it did."""
        self._live = False
        _tell(self._session, self._receiver.host, "connecting")
        film = SentFilm(self._session, self._ice(), sound=self._sound)
        accepted: Accepted | None = None
        try:
            accepted = await self._receiver.offer(await film.offer())
            await film.accept(accepted.sdp, accepted.near)
            if not await film.connected():
                return f"{self._receiver.host} has answered, and no connection came about"
            self._live = True
            _tell(self._session, self._receiver.host, "live", "" if self._sound else "without sound, which it refused")
            return f"{self._receiver.host}: {await film.ended()}"
        finally:  # also if this is cancelled, as at the end of the session
            try:
                if accepted is not None and (fault := await self._receiver.end(accepted.resource)):
                    log.info("session %s: %s", self._session.id, fault)
            finally:
                await film.close()


def _fault(session: Session, error: Exception) -> str:
    """Write an error that nothing here expects into the log, and return a line of it for a person."""
    log.error("publishing session %s: an error in this server", session.id, exc_info=error)
    return f"an error in this server, which its log describes ({type(error).__name__})"


def _tell(session: Session, host: str, state: PublishingState, why: str = "", wait: float | None = None) -> None:
    """Tell the session's viewers and the log how its publishing stands."""
    session.tell_publishing(PublishingEvent(state=state, why=why, retry_s=wait))
    told = f"{why}; once more in {wait:.0f} s" if wait is not None else why or f"to {host}"
    level = logging.WARNING if state in ("lost", "refused") else logging.INFO
    log.log(level, "publishing session %s: %s (%s)", session.id, state, told)
