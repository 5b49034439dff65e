"""Sandboxes on other machines: each node of a Ray cluster holds some, of a back end that runs there.

A sandbox stays on the node that it was started on, with its snapshots and forks. A node that had one of the same image
is preferred while it has a core for another, since the image is at hand there; else it is the least loaded.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from stepgym.errors import SandboxError
from stepgym.sandboxes.base import FILE_SECONDS
from stepgym.sandboxes.cluster.host import Order, Started, pack
from stepgym.sandboxes.cluster.nodes import Fleet, Node, NodeLostError, fleet
from stepgym.sandboxes.contract import READ_LIMIT, Capability, ExecResult, Sandbox, Spec

START_SECONDS = 600.0
"""Time for a start, a fork, a snapshot or a reset: an image may have to come from a registry."""


class RaySandbox(Sandbox):
    """A sandbox of back end `inner` on some node.

    `Spec.workspace` is a folder here and travels there; an image and the sources of binds are those of the node.
    """

    def __init__(self, spec: Spec, *, inner: str = "namespace") -> None:
        self.spec = spec
        self._asked = spec
        self._inner = inner
        self._lock = threading.RLock()
        self._held: _Held | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the inner back end on its node, or before the start on the node that would be its."""
        with self._lock:
            if self._held is not None:
                return self._held.capabilities
            nodes = fleet()
            node = nodes.take(self._asked.image)
            try:
                found: frozenset[Capability] = node.ask("capabilities", self._order(), seconds=START_SECONDS)
                return found
            finally:
                nodes.add(node, -1)

    @property
    def refused(self) -> Counter[str]:
        """See `Sandbox.refused`."""
        with self._lock:
            found: Counter[str] = Counter()
            if self._held is not None and self._asked.allow:
                found = self._held.ask("refused", seconds=FILE_SECONDS)
            return found

    def start(self) -> Self:
        """See `Sandbox.start`."""
        with self._lock:
            if self._held is None:
                nodes, lost = fleet(), set[str]()
                while True:
                    node = nodes.take(self._asked.image, but=lost)
                    try:
                        self._begin(nodes, node)
                        break
                    except NodeLostError:  # with nothing on it: another will do
                        lost.add(node.id)
                        nodes.forget(node)
                        if len(lost) > 2:
                            raise
        return self

    def exec(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        stateful: bool = False,
        output_limit: int | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`."""
        result: ExecResult = self._call(
            "exec",
            command,
            seconds=timeout,
            timeout=timeout,
            cwd=cwd,
            env=dict(env) if env else None,
            stdin=stdin,
            stateful=stateful,
            output_limit=output_limit,
        )
        return result

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """See `Sandbox.read`."""
        content: bytes = self._call("read", path, seconds=FILE_SECONDS, limit=limit)
        return content

    def write(self, path: str, content: str | bytes) -> None:
        """See `Sandbox.write`."""
        self._call("write", path, content, seconds=FILE_SECONDS)

    def edit(self, path: str, old: str, new: str) -> None:
        """See `Sandbox.edit`."""
        self._call("edit", path, old, new, seconds=2 * FILE_SECONDS)

    def snapshot(self) -> str:
        """See `Sandbox.snapshot`."""
        point: str = self._call("snapshot", seconds=START_SECONDS)
        return point

    def fork(self, point: str) -> RaySandbox:
        """See `Sandbox.fork`. On the same node."""
        with self._lock:
            held = self._running()
            other = RaySandbox(self._asked, inner=self._inner)
            name = secrets.token_hex(8)
            with _removed_unless_held(held.node, name):
                started: Started = held.ask("fork", point, name, seconds=START_SECONDS)
                other._hold(_Held(held.fleet, held.node, name, started.capabilities), started.workdir)
            held.fleet.add(held.node, 1)
            return other

    def reset(self) -> None:
        """See `Sandbox.reset`."""
        self._call("reset", seconds=START_SECONDS)

    def close(self) -> None:
        """See `Sandbox.close`. A command in progress ends with `SandboxError`.

        What was on a node that is lost counts as closed.
        """
        if (held := self._held) is not None:
            self._end(held)  # before the lock, which a command in progress holds until then
        with self._lock:
            if self._held is not None:
                self._end(self._held)

    def _end(self, held: _Held) -> None:
        try:
            held.ask("close", seconds=FILE_SECONDS)
        except NodeLostError:
            held.fleet.forget(held.node)
        finally:
            with self._lock:
                if self._held is held:
                    self._held = None
                    held.fleet.add(held.node, -1)

    def _call(self, method: str, *args: Any, seconds: float, **kwargs: Any) -> Any:
        with self._lock:
            held = self._running()
            try:
                return held.ask("call", method, *args, seconds=seconds, **kwargs)
            except NodeLostError:
                held.fleet.forget(held.node)
                raise

    def _running(self) -> _Held:
        if self._held is None:
            raise SandboxError("the sandbox is not started")
        return self._held

    def _begin(self, nodes: Fleet, node: Node) -> None:
        order, packed = self._order(), None
        if self._asked.workspace is not None:
            content = pack(self._asked.workspace)
            order = replace(order, workspace=hashlib.blake2b(content, digest_size=16).hexdigest())
            packed = nodes.ship(order.workspace, content)
        try:
            with _removed_unless_held(node, order.name):
                started: Started = node.ask("start", order, packed, seconds=START_SECONDS)
                self._hold(_Held(nodes, node, order.name, started.capabilities), started.workdir)
        except BaseException:
            nodes.add(node, -1)
            raise

    def _hold(self, held: _Held, workdir: str) -> None:
        self._held = held
        self.spec = replace(self._asked, workdir=workdir)

    def _order(self) -> Order:
        spec = replace(self._asked, workspace=None, env=dict(self._asked.env))  # a view of a dictionary cannot travel
        return Order(secrets.token_hex(8), self._inner, spec)


@dataclass(frozen=True, slots=True)
class _Held:
    """A sandbox that is started."""

    fleet: Fleet
    node: Node
    name: str
    capabilities: frozenset[Capability]

    def ask(self, method: str, *args: Any, seconds: float, **kwargs: Any) -> Any:
        return self.node.ask(method, self.name, *args, seconds=seconds, **kwargs)


@contextmanager
def _removed_unless_held(node: Node, name: str) -> Iterator[None]:
    """Where Ctrl-C came between a start on the node and our knowing of it, the node forgets the sandbox."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(SandboxError):
            node.ask("close", name, seconds=FILE_SECONDS)
        raise
