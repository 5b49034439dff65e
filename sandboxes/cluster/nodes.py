"""The driver's end of the ray back end: its nodes, which of them gets a sandbox, and calls to them.

Each node that was chosen once has one actor of this process (`ray_host.Host`), which is not detached: Ray ends it with
this process, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepgym.errors import MissingDependencyError, SandboxError
from stepgym.sandboxes.cluster.host import Answer, Host

CALLS = 256
"""Most calls in progress on a node; more wait."""
CONNECT_SECONDS = 10.0
"""Time for a cluster to answer at its address."""
GRACE_SECONDS = 60.0
"""Time beyond a call's own after which its node counts as lost. Ray itself notices most deaths earlier."""
SHIPPED = 4
"""Workspaces kept for the next sandbox that has the same."""
INTERRUPT_SECONDS = 20.0
"""Time for what was interrupted to end."""

_log = logging.getLogger(__name__)


class NodeLostError(SandboxError):
    """A node does not answer any more, or its actor has died; whatever it held is gone."""


@dataclass(slots=True, eq=False)
class Node:
    """A machine of the cluster, and this process's actor on it."""

    id: str
    address: str
    room: int
    """Sandboxes it has a core for."""
    actor: Any = None
    live: int = 0
    images: set[str] = field(default_factory=set)
    """Those it had a sandbox of, and so has at hand."""

    def ask(self, method: str, *args: Any, seconds: float, **kwargs: Any) -> Any:
        """What a method of the `Host` gave; its error is raised here. Ctrl-C ends the call there as well.

        Raises `NodeLostError`, and `SandboxError` for what no `Host` is meant to say.
        """
        import ray

        token = secrets.token_hex(8)
        try:
            reference = getattr(self.actor, method).remote(token, *args, **kwargs)
            try:
                answer: Answer = ray.get(reference, timeout=seconds + GRACE_SECONDS)
            except (KeyboardInterrupt, ray.exceptions.GetTimeoutError):
                self._interrupt(token, reference)
                raise
        except ray.exceptions.GetTimeoutError as error:
            raise NodeLostError(f"node {self.address} did not answer for {seconds + GRACE_SECONDS:g} s") from error
        except ray.exceptions.RayTaskError as error:
            raise SandboxError(f"node {self.address}: {type(error.cause).__name__}: {error.cause}") from error
        except (ray.exceptions.RayError, ConnectionError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise NodeLostError(f"node {self.address} was lost: {reason[0]}") from error
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _interrupt(self, token: str, reference: Any) -> None:
        """Have the call end on the node, and wait for that; a node that does not listen is left alone."""
        import ray

        told, deadline = False, time.monotonic() + INTERRUPT_SECONDS
        with contextlib.suppress(ray.exceptions.RayError):
            while not ray.wait([reference], timeout=0.05)[0] and time.monotonic() < deadline:
                if not told:  # at the first time the call may not have begun
                    told = ray.get(self.actor.interrupt.options(concurrency_group="control").remote(token), timeout=5)


class Fleet:
    """The nodes of the cluster that Ray is connected to in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[str, Node] = {}
        self._shipped: OrderedDict[str, Any] = OrderedDict()

    def take(self, image: str, *, but: Collection[str] = ()) -> Node:
        """The node for another sandbox of that image, which is counted there from then on; none of the ids `but`."""
        import ray

        with self._lock:
            found = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}
            for lost in self._nodes.keys() - found.keys():
                del self._nodes[lost]
            for name, each in found.items():
                if name not in self._nodes:
                    room = int(each["Resources"].get("CPU", 0))
                    self._nodes[name] = Node(name, each["NodeManagerAddress"], room)
            usable = [node for name, node in self._nodes.items() if name not in but]
            if not usable:
                raise SandboxError("no node of the Ray cluster can hold a sandbox: all were lost")
            node = choose(usable, image)
            if node.actor is None:
                node.actor = _start_actor(node.id)
            node.live += 1
            node.images.add(image)
            return node

    def add(self, node: Node, count: int) -> None:
        """So many sandboxes more there, or less."""
        with self._lock:
            node.live += count

    def ship(self, key: str, content: bytes) -> Any:
        """A reference to the content with that key, to be given to a node in its place. The last few are kept."""
        import ray

        with self._lock:
            if key not in self._shipped:
                self._shipped[key] = ray.put(content)
            self._shipped.move_to_end(key)
            if len(self._shipped) > SHIPPED:
                self._shipped.popitem(last=False)
            return self._shipped[key]

    def forget(self, node: Node) -> None:
        """The node's actor is no more; if the node itself is there, it gets another."""
        with self._lock:
            if self._nodes.get(node.id) is node:
                del self._nodes[node.id]

    def close(self) -> None:
        """Close all sandboxes of this process."""
        import ray

        with self._lock:
            nodes, self._nodes = list(self._nodes.values()), {}
        holding = [node for node in nodes if node.actor is not None and node.live]
        if holding and ray.is_initialized():
            with contextlib.suppress(ray.exceptions.RayError):  # a node that is lost holds nothing
                ending = [node.actor.close_all.remote() for node in holding]
                ray.wait(ending, num_returns=len(ending), timeout=GRACE_SECONDS)


def choose(nodes: Sequence[Node], image: str) -> Node:
    """The node for a sandbox: one that has the image at hand and a core to spare, else the least loaded for its size.

    A node without a core of its own, as the head of a cluster often is, is the last resort.
    """
    at_hand = [node for node in nodes if image and image in node.images and node.live < node.room]
    return min(at_hand or nodes, key=lambda node: (node.room < 1, node.live / max(node.room, 1), -node.room, node.id))


def fleet() -> Fleet:
    """That of the cluster Ray is connected to; it is connected to a running one on first use.

    Raises `SandboxError` where there is none, and `MissingDependencyError`.
    """
    global _current
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("sandboxes on other machines need Ray: pip install 'stepgym[ray]'") from error
    with _current_lock:
        if not ray.is_initialized():
            _connect(ray.init)
        context = ray.get_runtime_context()
        session = f"{context.gcs_address} {context.get_job_id()} {context.get_worker_id()} {os.getpid()}"
        if _current is None or _current[0] != session:
            _current = session, Fleet()
            atexit.register(_current[1].close)  # before Ray's own, which came earlier
        return _current[1]


_current: tuple[str, Fleet] | None = None
"""The fleet, and the connection it belongs to."""
_current_lock = threading.Lock()


def _connect(init: Callable[..., Any]) -> None:
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would knock for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        init(address=address, log_to_driver=False)
    except (OSError, RuntimeError) as error:
        raise SandboxError(
            "no Ray cluster was found: start one with `ray start --head`, name one in RAY_ADDRESS, or call ray.init()"
        ) from error
    _log.info("connected to the Ray cluster %s; call ray.init() before for another", address)


def _start_actor(node_id: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=CALLS, concurrency_groups={"control": 2})(Host)
    return actor.options(scheduling_strategy=there).remote()
