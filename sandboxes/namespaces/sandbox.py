"""The embedded sandbox: Linux namespaces and an overlayfs, without a daemon and without root.

Inside is root of a user namespace without a single capability, alone with its processes, its network and its files:
this machine's programs, or an image's root file system, read-only, and one folder for all that is written. The first
process is the launcher (``launcher/``), which no command can signal, trace or look into; when its owner dies, so does
it, and with it everything inside.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes.base import PATH, ShellSandbox
from stepgym.sandboxes.contract import Capability, Network, Spec
from stepgym.sandboxes.namespaces import cgroups, tiers
from stepgym.sandboxes.namespaces.rootfs import Root, python_prefix
from stepgym.sandboxes.namespaces.supervisor import Supervisor
from stepgym.sandboxes.owners import this_owner
from stepgym.sandboxes.pipes import PipeChannel, private_input
from stepgym.sandboxes.proxying.proxy import ENVIRONMENT, PORT, Proxy
from stepgym.sandboxes.reaper import reap_once
from stepgym.sandboxes.removal import remove_tree
from stepgym.sandboxes.shell import ARGUMENTS, Channel
from stepgym.sandboxes.written import Watch, bytes_held


class NamespaceSandbox(ShellSandbox):
    """A sandbox of this machine's kernel, usable after milliseconds."""

    def __init__(self, spec: Spec, *, base: tuple[str, ...] = ()) -> None:
        """`base` names the frozen layers that a fork stands on."""
        super().__init__(spec)
        if spec.allow and spec.network is Network.HOST:
            raise ConfigError("a sandbox has the host's network or an allow list, not both")
        if spec.image and not Path(spec.image).is_dir():
            raise SandboxError(
                f"an image of sandbox 'namespace' is a folder with a root file system, not {spec.image!r}"
            )
        self._base = base
        self._points: dict[str, tuple[str, ...]] = {}
        self._parts: _Parts | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Sandbox.capabilities`."""
        bound_by_groups = {Capability.MEMORY_LIMIT, Capability.PROCESS_LIMIT, Capability.CPU_LIMIT}
        return frozenset(set(Capability) - bound_by_groups | cgroups.capabilities())

    @property
    def refused(self) -> Counter[str]:
        """See `Sandbox.refused`."""
        proxy = None if self._parts is None else self._parts.proxy
        return Counter() if proxy is None else proxy.refused

    def start(self) -> Self:
        """See `Sandbox.start`."""
        with self._lock:
            if self._parts is None:
                reap_once()
                with _AT_ONCE:
                    self._parts = _Parts(self.spec, self._base)
                _LIVE.add(self)
        return self

    def snapshot(self) -> str:
        """See `Sandbox.snapshot`."""
        with self._lock:
            parts = self._running()
            self._forget_shells()
            parts.supervisor.settle()  # a mount that is still to come needs the folder that is moved away now
            name = parts.root.freeze()
            self._points[name] = parts.root.layers
            parts.mount()  # kills what runs, which until then writes to what is about to be frozen
            return name

    def fork(self, point: str) -> NamespaceSandbox:
        """See `Sandbox.fork`."""
        with self._lock:
            parts = self._running()
            if point not in self._points:
                raise SandboxError(f"no snapshot {point!r} of this sandbox")
            parts.supervisor.settle()
            return NamespaceSandbox(self.spec, base=self._points[point]).start()

    def reset(self) -> None:
        """See `Sandbox.reset`."""
        with self._lock:
            parts = self._running()
            self._forget_shells()
            with _AT_ONCE:
                parts.renew(self._base)

    def close(self) -> None:
        """See `Sandbox.close`. A command in progress ends with `SandboxError`."""
        if (running := self._parts) is not None:
            running.supervisor.stop()
        with self._lock:
            parts, self._parts = self._parts, None
            if parts is not None:
                _LIVE.discard(self)
                self._forget_shells()
                with _AT_ONCE:
                    parts.close(list(self._points))
                self._points.clear()

    def _running(self) -> _Parts:
        if self._parts is None:
            raise SandboxError("the sandbox is not started")
        if not self._parts.supervisor.alive():
            raise SandboxError("the sandbox has ended: its first process was killed from outside")
        return self._parts

    def _check(self) -> None:
        self._running()

    def _kill(self) -> None:
        self._running().supervisor.kill()

    def _open(self) -> Channel:
        theirs, stdin = private_input()
        stdout, theirs_too = os.pipe()
        try:
            process = self._running().supervisor.shell(
                self.spec.workdir, ARGUMENTS, self.environment(), (theirs, theirs_too)
            )
        except BaseException:
            os.close(stdin)
            os.close(stdout)
            raise
        finally:
            os.close(theirs)
            os.close(theirs_too)
        return PipeChannel(stdin, stdout, process)

    def _over_limit(self) -> str:
        return self._running().written.over_limit()

    def _noticed(self) -> str:
        parts = self._running()
        if parts.cgroup.out_of_memory():
            return f"out of memory: the limit is {self.spec.limits.memory >> 20} MiB"
        return parts.written.over_limit()

    def environment(self) -> Mapping[str, str]:
        """As in every sandbox, and where the proxy is."""
        return {**(ENVIRONMENT if self.spec.allow else {}), **super().environment()}

    def _search_path(self) -> str:
        prefix = "" if self.spec.image else python_prefix()
        return f"{prefix}/bin:{PATH}" if prefix else PATH


class _Parts:
    """What a running sandbox is made of."""

    def __init__(self, spec: Spec, base: tuple[str, ...]) -> None:
        self.proxy: Proxy | None = None
        self.root = Root(spec, base)
        try:
            self.written = Watch(lambda: self.root.upper, spec.limits.disk, lambda: bytes_held(self.supervisor.pid))
            self.cgroup = cgroups.Cgroup(f"{this_owner().label}.{next(_NUMBERS)}", spec.limits)
        except BaseException:
            self.root.remove()
            raise
        bounded = Capability.MEMORY_LIMIT in cgroups.capabilities()
        try:
            self.supervisor: Supervisor = tiers.start(
                spec.limits,
                network=spec.network is Network.HOST,
                address_space=0 if bounded else spec.limits.memory,
                cgroups=self.cgroup.procs,
            )
        except BaseException:
            self.cgroup.remove()
            self.root.remove()
            raise
        try:
            self.mount()
            if spec.allow:
                self.proxy = Proxy(self.supervisor.listen(PORT), spec.allow)
            self.supervisor.settle()
        except BaseException:
            self.close([])
            raise

    def mount(self) -> None:
        """Mount the root file system as it is to be."""
        self.supervisor.mount(self.root.plan())

    def renew(self, base: tuple[str, ...]) -> None:
        """Forget what was written."""
        former = self.root.renew()
        self.root.back_to(base)
        self.mount()
        self.supervisor.settle()
        remove_tree(former)

    def close(self, points: list[str]) -> None:
        """End the processes, then remove what they left and the snapshots."""
        self.supervisor.close()
        if self.proxy is not None:
            self.proxy.close()
        try:
            self.cgroup.remove()
        finally:
            self.root.remove()
            self.root.release(points)


PLACES = 8
_AT_ONCE = threading.Semaphore(PLACES)
"""Starts and ends at a time in this process: their many short system calls have every thread wait for the interpreter
in between, so that more of them get no faster, and an event loop beside them late."""
_NUMBERS = itertools.count()
_LIVE: weakref.WeakSet[NamespaceSandbox] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for sandbox in list(_LIVE):
        sandbox.close()


def _forked() -> None:
    _LIVE.clear()
    _AT_ONCE.__init__(PLACES)  # type: ignore[misc]  # the parent's threads may have held it


os.register_at_fork(after_in_child=_forked)
