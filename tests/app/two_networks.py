"""Build two networks that only a third machine between them reaches, which runs a TURN server and forwards HTTP.

The server stays in this machine's own network; viewers run in a network namespace that has a route to the machine
between and to nothing else. So UDP between a viewer and the server is impossible, and TCP goes through the forwarder.
It needs root and `ip` (iproute2).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TURNSERVER = shutil.which("turnserver")
needs_turnserver = pytest.mark.skipif(
    TURNSERVER is None or shutil.which("ip") is None or os.geteuid() != 0,
    reason="needs root, ip and coturn: apt-get install iproute2 coturn",
)
SECRET = "north"
FORWARDER = """
import asyncio, sys
async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    sink.close()
async def forward(reader, writer):
    other_reader, other_writer = await asyncio.open_connection(sys.argv[3], int(sys.argv[4]))
    await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
async def main():
    server = await asyncio.start_server(forward, sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Networks:
    """Hold the addresses of two networks, and how to run a command in them."""

    server: str  # address of this machine that only the machine between reaches
    between: str  # address of the machine between, which both networks reach
    viewers: Sequence[str]  # command line that runs what follows as a viewer
    relays: Sequence[str]  # command line that runs what follows on the machine between
    cable: str  # the viewers' network interface

    def run(self, *command: str) -> str:
        """Run a command as a viewer and return what it prints."""
        done = subprocess.run([*self.viewers, *command], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def move(self, address: int) -> None:
        """Give the viewers another address, 2 to 250, as a change of network does; old routes and sockets are dead."""
        network = self.server.rpartition(".")[0].rpartition(".")[0]
        self.run("ip", "address", "flush", "dev", self.cable)
        self.run("ip", "address", "add", f"{network}.2.{address}/24", "dev", self.cable)
        self.run("ip", "route", "add", self.between, "via", f"{network}.2.1")


@contextmanager
def two_networks() -> Iterator[Networks]:
    """Build the networks; remove them afterwards."""
    mark = os.getpid() % 200 + 20
    near, far, middle = f"lt{mark}v", f"lt{mark}r", f"10.{mark}.0.1"

    def ip(command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True)

    try:
        for name in (near, far):
            ip(f"netns add {name}")
            ip(f"-n {name} link set lo up")
        ip(f"link add lt{mark}a type veth peer name left netns {far}")
        ip(f"-n {far} link add right type veth peer name cable netns {near}")
        ip(f"-n {far} address add {middle}/32 dev lo")
        ip(f"-n {far} address add 10.{mark}.1.1/24 dev left")
        ip(f"-n {far} address add 10.{mark}.2.1/24 dev right")
        ip(f"address add 10.{mark}.1.2/24 dev lt{mark}a")
        for link in (f"link set lt{mark}a up", f"-n {far} link set left up", f"-n {far} link set right up"):
            ip(link)
        ip(f"route add {middle} via 10.{mark}.1.1")
        ip(f"-n {far} route add default via 10.{mark}.1.2")  # coturn gives up a session that has no route to its peer
        ip(f"-n {near} link set cable up")
        inside = ("ip", "netns", "exec")
        networks = Networks(f"10.{mark}.1.2", middle, (*inside, near), (*inside, far), "cable")
        networks.move(2)
        yield networks
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "del", name], check=False)  # takes its cables with it


@contextmanager
def coturn(networks: Networks, folder: Path) -> Iterator[Path]:
    """Run coturn on the machine between, with SECRET and without any other user; yield its log."""
    address = networks.between
    options = f"-n -L {address} -E {address} --realm longtake --no-cli --no-tls --no-dtls --use-auth-secret".split()
    files = ["--static-auth-secret", SECRET, "--pidfile", str(folder / "pid"), "--userdb", str(folder / "db")]
    log = folder / "turn.log"
    files += ["--log-file", str(log), "--simple-log", "--verbose"]
    assert TURNSERVER is not None
    command = [*networks.relays, TURNSERVER, *options, *files]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            yield log
        finally:
            process.terminate()


@contextmanager
def forwarded(networks: Networks, port: int) -> Iterator[str]:
    """Forward TCP of the machine between to a port of the server; yield the address for viewers."""
    ends = [networks.between, "80", networks.server, str(port)]
    command = [*networks.relays, sys.executable, "-c", FORWARDER, *ends]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"http://{networks.between}"
        finally:
            process.terminate()
