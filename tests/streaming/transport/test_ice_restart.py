"""Data pass both ways before, during and after an ICE restart, over new sockets, and end with the connection."""

from __future__ import annotations

import asyncio

import pytest
from aioice import Connection

from streaming.transport.ice_restart import RestartableIce

pytestmark = pytest.mark.asyncio


async def introduce(one: Connection, other: Connection) -> None:
    """Tell a connection the other's user name, password and candidates."""
    one.remote_username, one.remote_password = other.local_username, other.local_password
    for candidate in other.local_candidates:
        await one.add_remote_candidate(candidate)


async def echo(one: RestartableIce, other: RestartableIce) -> None:
    for here, there in ((one, other), (other, one)):
        await here.send(b"\x80 data")
        assert await asyncio.wait_for(there.recv(), 5) == b"\x80 data"


async def test_data_pass_both_ways_through_two_restarts() -> None:
    server, player = (RestartableIce(Connection(ice_controlling=controls)) for controls in (False, True))
    await asyncio.gather(server.gather_candidates(), player.gather_candidates())
    await introduce(server, player)
    await introduce(player, server)
    await asyncio.gather(server.connect(), player.connect())
    await echo(server, player)
    for _ in range(2):
        before = server.current
        asked = await player.restart("unknown", 22 * "x")
        made = await server.restart(asked.local_username, asked.local_password)
        await introduce(asked, made)
        await introduce(made, asked)
        await echo(server, player)  # over the former sockets
        assert await asyncio.gather(server.take_over(made, 10), player.take_over(asked, 10)) == [True, True]
        assert server.current is made
        assert before.local_candidates == [] or before is server
        await echo(server, player)
    await player.close()
    await server.close()
    with pytest.raises(ConnectionError):
        await server.recv()
