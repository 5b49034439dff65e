"""An HTTP and HTTPS proxy to the hosts of `Spec.allow` and to no other: the one way out of a sandbox without a network.

It runs in a thread of the owner, takes connections from a socket that listens inside the sandbox and makes them from
here. ``CONNECT`` is tunnelled (HTTPS); a request with an absolute URI is passed on, one to a connection; all else is
refused, and told which host was. Names are resolved here, and what is connected is the address that was checked: a name
that leads to this machine or its neighbours is refused.

What it cannot see is inside a tunnel: a host that serves others' names beside its own (a CDN) serves them here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from stepgym.errors import ConfigError
from stepgym.sandboxes.proxying.allowed import AllowList, Destination
from stepgym.sandboxes.proxying.request import RefusedError, parse_request

PORT = 3128
"""Where it is reached from inside."""
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), f"http://127.0.0.1:{PORT}")
    | dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
)
"""What tells the programs of a sandbox to use it."""

HEAD_BYTES = 1 << 16
"""Longest head of a request."""
HEAD_SECONDS = 20.0
"""Time for a client to say what it wants, and again for us to look the host up and reach it."""
IDLE_SECONDS = 300.0
"""Time without a byte in either direction after which a connection is ended."""
CONNECTIONS = 64
"""Most at a time; one beyond them waits until another ends. Each takes two descriptors of the owner."""
LINGER_SECONDS = 2.0
"""Time for the other side to take the last bytes."""
REMEMBERED = 1000
"""Most hosts counted by name."""
CHUNK = 1 << 16


class Proxy:
    """Serves on a socket that listens already, from its making until `close`."""

    def __init__(self, listener: socket.socket, allow: Iterable[str]) -> None:
        """`listener` becomes ours to close. Raises `ConfigError` for an entry of `allow` that is no host."""
        self.refused: Counter[str] = Counter()
        """How often each ``host:port`` was asked for and refused: `REMEMBERED` of them by name, the others as ``*``."""
        try:
            self._allow = AllowList.parse(allow)
        except ConfigError:
            listener.close()
            raise
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sandbox-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and give up the socket; nothing where that is done."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        self._listener.setblocking(False)
        with self._listener, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            accepting = runner.get_loop().create_task(self._accept())
            self._loop.run_forever()
            accepting.cancel()  # and at its end the runner what is cancelled, connections included

    async def _accept(self) -> None:
        room = asyncio.Semaphore(CONNECTIONS)
        serving = set[asyncio.Task[None]]()  # the loop itself does not hold on to its tasks

        def ended(task: asyncio.Task[None]) -> None:
            serving.discard(task)
            room.release()

        while True:
            await room.acquire()
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # no descriptor left: others may be given back
                room.release()
                await asyncio.sleep(1.0)
                continue
            task = self._loop.create_task(self._handle(connection))
            serving.add(task)
            task.add_done_callback(ended)

    async def _handle(self, connection: socket.socket) -> None:
        client, reply = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
        try:
            await self._pass_on(client, reply)
        except RefusedError as refusal:
            await _tell(client, reply, refusal)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two is gone, or silent
        finally:
            await _end(reply)

    async def _pass_on(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                request = parse_request(await client.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            raise RefusedError(431, "the head of the request is too long") from None
        except TimeoutError:
            raise RefusedError(408, "the request did not come") from None
        server, upload = await self._reach(request.destination)
        try:
            if request.head:
                upload.write(request.head)
            else:
                reply.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _relay(_Stream(client, upload), _Stream(server, reply), request.body)
        finally:
            await _end(upload)

    async def _reach(self, asked: Destination) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._allow.covers(asked):
            raise self._refuse(asked, "is not among the hosts this sandbox may reach")
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                found = await _look_up(asked)
                addresses = [each for each in found if self._allow.admits(asked, ip_address(each))]
                if not addresses:
                    raise self._refuse(asked, "leads to an address that is not public")
                for address in addresses:
                    with contextlib.suppress(OSError):
                        return await asyncio.open_connection(address, asked.port, limit=CHUNK)
        except TimeoutError:
            raise RefusedError(504, f"{asked} did not answer in {HEAD_SECONDS:g} s") from None
        except OSError as error:
            raise RefusedError(502, f"{asked}: {error.strerror or 'no connection'}") from None
        raise RefusedError(502, f"{asked} refused the connection")

    def _refuse(self, asked: Destination, why: str) -> RefusedError:
        known = str(asked) in self.refused or len(self.refused) < REMEMBERED
        self.refused[str(asked) if known else "*"] += 1
        return RefusedError(403, f"{asked} {why}")


@dataclass(frozen=True, slots=True)
class _Stream:
    """One direction of a connection."""

    source: asyncio.StreamReader
    sink: asyncio.StreamWriter


async def _look_up(asked: Destination) -> list[str]:
    """The addresses of a host. In a thread of its own: a slow name server delays neither `close` nor the exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(action: Callable[[Any], None], value: Any) -> None:
        if not answer.done():
            action(value)

    def look() -> None:
        try:
            found = socket.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
            told: tuple[Any, Any] = answer.set_result, list(dict.fromkeys(str(each[4][0]) for each in found))
        except (OSError, UnicodeError) as error:
            told = answer.set_exception, error if isinstance(error, OSError) else OSError("not a name")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=look, name="sandbox-proxy-name", daemon=True).start()
    return await answer


async def _relay(up: _Stream, down: _Stream, body: int | None) -> None:
    """Carry bytes both ways: `body` of them up, or until the client has said all."""
    loop = asyncio.get_running_loop()

    async def carry(stream: _Stream, left: float) -> None:
        while left and (data := await stream.source.read(int(min(left, CHUNK)))):
            left -= len(data)
            stream.sink.write(data)
            await stream.sink.drain()
            patience.reschedule(loop.time() + IDLE_SECONDS)
        if body is None or stream is down:
            stream.sink.write_eof()

    try:
        async with asyncio.timeout(IDLE_SECONDS) as patience, asyncio.TaskGroup() as both:
            upward = both.create_task(carry(up, float("inf") if body is None else body))
            await carry(down, float("inf"))
            if body is not None:  # the server has said all it will: what the client still sends is of no use
                upward.cancel()
    except* OSError:
        pass  # one of the two is gone, or both are silent


async def _tell(client: asyncio.StreamReader, reply: asyncio.StreamWriter, refusal: RefusedError) -> None:
    """Answer with the sentence as the reason phrase too: of a tunnel that was refused clients show that alone."""
    why = f"{refusal}\n".encode()
    start = b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    reply.write(start % (refusal.status, why.strip(), len(why)) + why)
    with contextlib.suppress(OSError):
        async with asyncio.timeout(LINGER_SECONDS):
            await reply.drain()
            reply.write_eof()
            while await client.read(CHUNK):  # closed with bytes unread, the connection would take the answer with it
                pass


async def _end(stream: asyncio.StreamWriter) -> None:
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        stream.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(LINGER_SECONDS):
                await stream.wait_closed()
    stream.transport.abort()
