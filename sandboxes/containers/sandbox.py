"""Sandboxes in containers of Docker, or of another engine with its API: one container each, one stream per shell.

What the first process is, and what commands may do, stands in `creation`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from stepgym.errors import SandboxError
from stepgym.sandboxes.base import ShellSandbox
from stepgym.sandboxes.capture import Capture
from stepgym.sandboxes.containers import creation
from stepgym.sandboxes.containers.archive import archive
from stepgym.sandboxes.containers.attached import AttachedChannel, shell_command
from stepgym.sandboxes.containers.disk import Disk
from stepgym.sandboxes.containers.doorway import Doorway
from stepgym.sandboxes.containers.engine import connect, failures, information
from stepgym.sandboxes.containers.traces import reap_in_engine_once, remove_container, remove_image
from stepgym.sandboxes.contract import KILLED, Capability, Spec, require
from stepgym.sandboxes.proxying.proxy import ENVIRONMENT
from stepgym.sandboxes.shell import Channel, Ending, Outcome, Shell

if TYPE_CHECKING:
    from docker import APIClient

TIME_TO_LIVE = 24 * 3600.0
"""Seconds after which a container ends by itself."""
SHELL_SECONDS = 60.0
"""How long a shell may take to be there."""
KILL_SECONDS = 10.0
"""How long killing from within may take."""
SETTLE_SECONDS = 0.2
"""How long the engine may take to learn of what the kernel did."""

_KILL = "kill -9 -1; until set -- /proc/[0-9]*; (($# < 4)); do ((SECONDS < 5)) || exit 1; done"
_START = "start"


class DockerSandbox(ShellSandbox):
    """A container. An image that `Spec.image` names is pulled if need be; it must have bash and coreutils."""

    def __init__(self, spec: Spec, *, time_to_live: float = TIME_TO_LIVE) -> None:
        super().__init__(spec)
        self._time_to_live = time_to_live
        token = secrets.token_hex(8)
        self._name, self._repository = f"stepgym-{token}", f"stepgym/{token}"
        self._running = False
        self._disk: Disk | None = None
        self._doorway: Doorway | None = None
        self._tags: list[str] = []
        """Of our images: snapshots, and in a fork the one it starts from."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As far as the engine's kernel lets it, and for the disk where its files can be read here.

        The disk is watched, not closed: a little more than the limit can be written.
        """
        has = information(self._engine)
        able = {
            Capability.ISOLATION: True,
            Capability.NO_NETWORK: True,
            Capability.ALLOW_LIST: self._engine.base_url.startswith("http+docker:"),  # a socket of this machine
            Capability.SNAPSHOTS: True,
            Capability.MEMORY_LIMIT: has.get("MemoryLimit") and has.get("SwapLimit"),
            Capability.PROCESS_LIMIT: has.get("PidsLimit"),
            Capability.CPU_LIMIT: has.get("CpuCfsQuota"),
            Capability.DISK_LIMIT: os.access(os.path.join(has["DockerRootDir"], has["Driver"]), os.R_OK | os.X_OK),
        }
        return frozenset(capability for capability, here in able.items() if here)

    def start(self) -> Self:
        """See `Sandbox.start`."""
        with self._lock:
            if not self._running:
                self._make()
        return self

    def snapshot(self) -> str:
        """See `Sandbox.snapshot`."""
        with self._lock:
            self._end_processes()
            point = secrets.token_hex(8)
            with failures("no snapshot could be made"):
                self._engine.commit(self._name, repository=self._repository, tag=point)
            self._tags.append(point)
            return point

    def fork(self, point: str) -> DockerSandbox:
        """See `Sandbox.fork`."""
        with self._lock:
            self._check()
            if point not in self._tags or point == _START:
                raise SandboxError(f"no snapshot {point!r} of this sandbox")
            other = DockerSandbox(self.spec, time_to_live=self._time_to_live)
            with failures(f"snapshot {point} is gone"):  # a name of its own: an image stays while it has one
                self._engine.tag(f"{self._repository}:{point}", other._repository, _START)
            other._tags.append(_START)
            try:
                return other.start()
            except BaseException:
                other.close()
                raise

    def reset(self) -> None:
        """See `Sandbox.reset`."""
        with self._lock:
            self._check()
            self._remove()
            self._make()

    def close(self) -> None:
        """See `Sandbox.close`. A command in progress ends with `SandboxError`."""
        if self._running:
            remove_container(self._name)
        with self._lock:
            self._remove()
            while self._tags:
                remove_image(f"{self._repository}:{self._tags[-1]}", self._engine)
                self._tags.pop()
            if engine := self.__dict__.pop("_engine", None):
                engine.close()

    def environment(self) -> Mapping[str, str]:
        """As in every sandbox, but with the ``PATH`` of the image."""
        given = {**(ENVIRONMENT if self.spec.allow else {}), **super().environment()}
        return {name: value for name, value in given.items() if name != "PATH" or name in self.spec.env}

    @property
    def refused(self) -> Counter[str]:
        """See `Sandbox.refused`."""
        return Counter() if self._doorway is None else self._doorway.refused

    @cached_property
    def _engine(self) -> APIClient:
        return connect()

    def _check(self) -> None:
        if not self._running:
            raise SandboxError("the sandbox is not started")

    def _over_limit(self) -> str:
        assert self._disk is not None
        return self._disk.over_limit()

    def _noticed(self) -> str:
        return self._over_limit()

    def _run(self, script: bytes, stdin: bytes, deadline: float, capture: Capture, *, session: bool = False) -> Outcome:
        started = time.time()
        outcome = super()._run(script, stdin, deadline, capture, session=session)
        if outcome.exit_code == KILLED and not outcome.why and self._out_of_memory(started):
            outcome = replace(outcome, why=f"out of memory: the limit is {self.spec.limits.memory >> 20} MiB")
        return outcome

    def _out_of_memory(self, since: float) -> bool:
        """Whether the kernel ended something inside for want of memory."""
        which, until = {"container": self._name, "event": "oom"}, time.time() + SETTLE_SECONDS
        with failures("the container engine does not answer"):
            return bool(list(self._engine.events(since=f"{since:.9f}", until=f"{until:.9f}", filters=which)))

    def _open(self) -> Channel:
        channel = AttachedChannel(self._engine, self._name, shell_command(self.spec.workdir))
        try:
            said = Capture(1 << 10)
            outcome = Shell(channel).run(b":", b"", time.monotonic() + SHELL_SECONDS, said, lambda: "")
            if outcome.ending is not Ending.FINISHED:
                raise SandboxError(f"no shell could be started in the container: {said.text() or outcome.ending.value}")
        except BaseException:
            channel.close()
            raise
        return channel

    def _kill(self) -> None:
        with ExitStack() as absorbing, failures("the container is gone, or its engine"):
            for shell in self._shells.values():
                if isinstance(shell.channel, AttachedChannel):
                    absorbing.enter_context(shell.channel.absorbing())
            if not self._killed():
                time.sleep(SETTLE_SECONDS)  # where it has just ended the engine may not know yet
                state = self._engine.inspect_container(self._name)["State"]
                if not state["Running"] and not state["OOMKilled"]:
                    raise SandboxError(f"the container has ended, with code {state['ExitCode']}")
                self._engine.restart(self._name, timeout=0)
            if self._doorway is not None:
                self._doorway.open(self._engine, self._name)

    def _killed(self) -> bool:
        """Kill from within, and look from outside: a container full of processes cannot, one that lies would not."""
        try:
            with closing(AttachedChannel(self._engine, self._name, ["bash", "-c", _KILL])) as killing:
                while killing.receive(time.monotonic() + KILL_SECONDS):
                    pass
        except (SandboxError, TimeoutError):
            return False
        return len(self._engine.top(self._name)["Processes"]) <= 2  # the first, and its sleep

    def _make(self) -> None:
        reap_in_engine_once(self._engine)
        creation.check_room(self._engine)
        try:
            if self.spec.allow:
                require(self, [Capability.ALLOW_LIST])
                self._doorway = Doorway(self.spec.allow)
            with failures("no container could be made"):
                creation.create(
                    self._engine,
                    self.spec,
                    name=self._name,
                    fork=f"{self._repository}:{_START}" if _START in self._tags else "",
                    seconds=self._time_to_live,
                    environment=self.environment(),
                    binds=() if self._doorway is None else self._doorway.binds,
                )
                if self.spec.workspace is not None and _START not in self._tags:
                    self._engine.put_archive(self._name, self.spec.workdir, archive(self.spec.workspace))
                self._engine.start(self._name)
                if self._doorway is not None:
                    self._doorway.open(self._engine, self._name)
                self._disk = Disk(self._engine, self._name, self.spec.limits.disk)
                self._running = True
        except BaseException:
            self._remove()
            raise

    def _remove(self) -> None:
        """Remove the container, whatever state it is in."""
        self._forget_shells()
        if self._doorway is not None:
            self._doorway.close()
            self._doorway = None
        if "_engine" in self.__dict__:
            remove_container(self._name, self._engine)
        self._running, self._disk = False, None
