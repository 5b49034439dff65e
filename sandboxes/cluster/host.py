"""The end of the ray back end on a node: it holds the sandboxes of one driver there. Nothing here imports Ray."""

from __future__ import annotations

import ctypes
import io
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepgym.errors import SandboxError, StepgymError
from stepgym.sandboxes import SANDBOXES
from stepgym.sandboxes.contract import Capability, Sandbox, Spec
from stepgym.sandboxes.owners import own_folder
from stepgym.sandboxes.removal import remove_tree


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: a value, or the error that the driver raises in its place."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What a driver is told of a sandbox that has started."""

    workdir: str
    capabilities: frozenset[Capability]


@dataclass(frozen=True, slots=True)
class Order:
    """A sandbox to be started."""

    name: str
    """The driver's own for it."""
    inner: str
    """The back end on the node."""
    spec: Spec
    """Without a workspace: that is a folder of the driver's machine."""
    workspace: str = ""
    """Which packed folder it gets in its place; empty for none."""


class Host:
    """Sandboxes of an inner back end, by the names that the driver gives them. Its methods run in many threads at once.

    It runs as a Ray actor. Ray kills the actor with the driver, and what that leaves is the reaper's of this node.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sandboxes: dict[str, Sandbox] = {}
        self._calls: dict[str, int] = {}
        """The threads of the calls in progress, by the calls' tokens."""
        self._workspaces = _Workspaces()

    def capabilities(self, token: str, order: Order) -> Answer:
        """Of a sandbox that is not started."""
        return self._answer(token, lambda: _make(order, None).capabilities)

    def start(self, token: str, order: Order, packed: bytes | None) -> Answer:
        """Make and start a sandbox; its `Started`. `packed` is the workspace, as `pack` made it."""

        def begin() -> Started:
            folder = self._workspaces.take(order.name, order.workspace, packed) if packed is not None else None
            sandbox = _make(order, folder)
            self._sandboxes[order.name] = sandbox
            sandbox.start()
            return Started(sandbox.spec.workdir, sandbox.capabilities)

        answer = self._answer(token, begin)
        if answer.error is not None:
            self._remove(order.name)
        return answer

    def call(self, token: str, name: str, method: str, *args: Any, **kwargs: Any) -> Answer:
        """A method of a sandbox."""
        return self._answer(token, lambda: getattr(self._sandbox(name), method)(*args, **kwargs))

    def refused(self, token: str, name: str) -> Answer:
        """How often the sandbox's proxy refused each host; empty where it has none."""
        return self._answer(token, lambda: self._sandbox(name).refused)

    def fork(self, token: str, name: str, point: str, other: str) -> Answer:
        """`Sandbox.fork`, under the name `other`; its `Started`."""

        def branch() -> Started:
            sandbox = self._sandbox(name).fork(point)
            self._sandboxes[other] = sandbox
            self._workspaces.share(name, other)
            return Started(sandbox.spec.workdir, sandbox.capabilities)

        return self._answer(token, branch)

    def close(self, token: str, name: str) -> Answer:
        """Close and forget a sandbox; nothing where there is none."""
        return self._answer(token, lambda: self._remove(name))

    def close_all(self) -> None:
        """End what runs and close what is left, each however the others fare."""
        with self._lock:
            for thread in self._calls.values():
                _raise_in(thread, KeyboardInterrupt)
        for name in list(self._sandboxes):
            self._answer("", lambda name=name: self._remove(name))  # type: ignore[misc]

    def interrupt(self, token: str) -> bool:
        """Do to a call in progress what Ctrl-C does to one on the driver's machine; False where there is none such."""
        with self._lock:
            return token in self._calls and _raise_in(self._calls[token], KeyboardInterrupt)

    def _sandbox(self, name: str) -> Sandbox:
        if name not in self._sandboxes:
            raise SandboxError("the sandbox is not on its node any more")
        return self._sandboxes[name]

    def _remove(self, name: str) -> None:
        try:
            sandbox = self._sandboxes.pop(name, None)
            if sandbox is not None:
                sandbox.close()
        finally:
            self._workspaces.leave(name)

    def _answer(self, token: str, action: Callable[[], Any]) -> Answer:
        try:
            try:
                with self._lock:
                    self._calls[token] = threading.get_ident()
                return Answer(action())
            finally:
                self._done(token)
        except (StepgymError, OSError) as error:
            return Answer(error=error)
        except KeyboardInterrupt:
            return Answer(error=SandboxError("interrupted"))

    def _done(self, token: str) -> None:
        """No interrupt reaches this thread for that call after it; one on its way may arrive while it runs."""
        try:
            with self._lock:
                self._calls.pop(token, None)
                _raise_in(threading.get_ident(), None)
        except KeyboardInterrupt:
            with self._lock:
                self._calls.pop(token, None)
            raise


class _Workspaces:
    """Folders that came from the driver, each there once for all the sandboxes that see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[str, set[str]] = {}

    def take(self, name: str, key: str, packed: bytes) -> Path:
        """The folder with that content, kept while `name` has not left."""
        folder = self._folder(key)
        with self._lock:
            if key not in self._users:
                remove_tree(folder)  # of an unpacking that was cut short
                with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                    archive.extractall(folder, filter="fully_trusted")
            self._users.setdefault(key, set()).add(name)
        return folder

    def share(self, name: str, other: str) -> None:
        """`other` sees what `name` sees."""
        with self._lock:
            for users in self._users.values():
                if name in users:
                    users.add(other)

    def leave(self, name: str) -> None:
        """Remove the folder if nobody else sees it."""
        with self._lock:
            for key, users in list(self._users.items()):
                users.discard(name)
                if not users:
                    del self._users[key]
                    remove_tree(self._folder(key))

    def _folder(self, key: str) -> Path:
        return own_folder() / f"workspace-{key}"


def pack(folder: Path) -> bytes:
    """A folder's content in one piece."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder, arcname=".")
    return stream.getvalue()


def _make(order: Order, workspace: Path | None) -> Sandbox:
    sandbox: Sandbox = SANDBOXES.load(order.inner)(replace(order.spec, workspace=workspace))
    return sandbox


def _raise_in(thread: int, error: type[BaseException] | None) -> bool:
    """Have a thread raise this at its next step; with None, not raise what it was to."""
    argument = ctypes.py_object() if error is None else ctypes.py_object(error)
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument))
