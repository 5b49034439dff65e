"""The owner's end of a launcher, the first process of a namespace sandbox (``launcher/supervise.c`` is the other)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepgym.errors import SandboxError
from stepgym.sandboxes.contract import Limits

PROGRAM = Path(__file__).with_name("_launcher")
ANSWER_SECONDS = 30.0
"""Time a request may take; a loaded machine needs milliseconds for one."""
MESSAGE = 1 << 17
WORDS = 4096
"""Bounds of a request (``launcher.h``)."""


class Supervisor:
    """A running launcher. Not safe to use from several threads at once: a sandbox's lock is held around it."""

    def __init__(
        self,
        limits: Limits,
        *,
        network: bool,
        address_space: int,
        cgroups: Sequence[Path] = (),
        bubblewrap: bool = False,
    ) -> None:
        """Start it, in namespaces that it makes or, with `bubblewrap`, in a user namespace that bwrap makes.

        `address_space` bounds each process by itself, 0 not at all. Raises `SandboxError` where it does not start.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._deaths: dict[int, int] = {}
        self._stopped = False
        self._owed = 1
        """Answers still to come: that it is ready, and those to requests whose sender did not wait for them."""
        user = ("-", "-") if bubblewrap else (str(os.geteuid()), str(os.getegid()))
        numbers = (address_space, limits.processes, limits.disk)
        arguments = ["run", str(theirs.fileno()), *user, str(int(network)), *map(str, numbers), *map(str, cgroups)]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*(_bubblewrap() if bubblewrap else ()), str(PROGRAM), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"the sandbox's launcher cannot be started: {error}") from error
        _LIVE.add(self)
        try:
            self._receive(time.monotonic() + ANSWER_SECONDS)
        except BaseException:
            self.close()
            raise

    def mount(self, plan: Sequence[str]) -> None:
        """Kill everything inside and make the root file system by `plan` (``launcher/mounts.c``).

        Returns before it is done; `settle` and every other request wait for it, and raise what went wrong.
        """
        self._send("M", plan)

    def kill(self) -> None:
        """Kill everything inside; return when it is dead."""
        self._ask("K")

    def shell(
        self, folder: str, arguments: Sequence[str], environment: Mapping[str, str], descriptors: tuple[int, int]
    ) -> ShellProcess:
        """Start a process without privileges, with these descriptors as standard input and output."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        answer = self._ask("S", [folder, str(len(arguments)), *arguments, *variables], descriptors)
        return ShellProcess(self, int(answer))

    def listen(self, port: int) -> socket.socket:
        """A listening socket on the sandbox's loopback device, to accept on from outside."""
        self._ask("L", [str(port)])
        return self._listener

    def fileno(self) -> int:
        """Readable when there may be news of the shells."""
        return self._socket.fileno()

    @property
    def pid(self) -> int:
        """Of the launcher's outer process, whose child is the sandbox's first."""
        return self._process.pid

    def alive(self) -> bool:
        """The launcher runs."""
        return self._process.poll() is None

    def exit_code(self, pid: int) -> int | None:
        """Of a shell that has died; None while it runs. Raises `SandboxError` where the launcher itself has ended."""
        self._socket.setblocking(False)
        try:
            while True:
                if self._take() is not None:
                    self._owed -= 1
        except BlockingIOError:
            return self._deaths.pop(pid, None)

    def stop(self) -> None:
        """Let everything end, the launcher included. From any thread; `close` is still to be called.

        The launcher ends by itself where its owner is gone: killed, it would leave its child to others to reap.
        """
        self._stopped = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the sandbox: its processes, namespaces and mounts."""
        _LIVE.discard(self)
        self._socket.close()
        try:
            self._process.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def abandon(self) -> None:
        """In a forked child: the sandbox is the parent's, and must not live on by our copy of the socket."""
        self._socket.close()
        self._process.returncode = 0  # not ours to wait for

    def settle(self) -> None:
        """Wait until everything asked for is done. Raises `SandboxError` where it could not be."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._owed:
            self._receive(deadline)

    def _ask(self, kind: str, words: Sequence[str] = (), descriptors: Sequence[int] = ()) -> str:
        self._send(kind, words, descriptors)
        return self._receive(time.monotonic() + ANSWER_SECONDS)

    def _send(self, kind: str, words: Sequence[str] = (), descriptors: Sequence[int] = ()) -> None:
        if any("\0" in word for word in words):
            raise SandboxError("a path or an environment variable holds a NUL character")
        message = (kind + "".join(f"{word}\0" for word in words)).encode("utf-8", "surrogateescape")
        if len(message) > MESSAGE or len(words) > WORDS:
            raise SandboxError(f"paths and environment variables take more than {MESSAGE} bytes or {WORDS} words")
        self.settle()
        self._owed += 1
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            socket.send_fds(self._socket, [message], list(descriptors))
        except OSError as error:
            raise self._ended(str(error)) from error

    def _receive(self, deadline: float) -> str:
        """The next answer; deaths that come before it are noted."""
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                answer = self._take()
            except TimeoutError:
                raise SandboxError(f"the sandbox has not answered for {ANSWER_SECONDS:g} s") from None
            except OSError as error:
                raise self._ended(str(error)) from error
            if answer is not None:
                self._owed -= 1
                if answer.startswith("E"):
                    raise SandboxError(f"the sandbox could not be set up: {answer[1:]}")
                return answer[1:]

    def _take(self) -> str | None:
        """One message: an answer, or None for a death."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1024, 1)
        if not data:
            raise self._ended("its first process was killed from outside")
        text = data.decode(errors="replace")
        if text.startswith("D"):
            pid, code = map(int, text[1:].split())
            self._deaths[pid] = code
            return None
        if descriptors:
            self._listener = socket.socket(fileno=descriptors[0])
        return text

    def _ended(self, why: str) -> SandboxError:
        return SandboxError(f"the sandbox has ended: {'it was closed' if self._stopped else why}")


class ShellProcess:
    """A process that a supervisor started (`pipes.Process`)."""

    def __init__(self, supervisor: Supervisor, pid: int) -> None:
        self._supervisor, self._pid = supervisor, pid
        self._code: int | None = None

    def fileno(self) -> int:
        """See `pipes.Process.fileno`."""
        return self._supervisor.fileno()

    def exit_code(self) -> int | None:
        """See `pipes.Process.exit_code`."""
        if self._code is None:
            self._code = self._supervisor.exit_code(self._pid)
        return self._code


def _bubblewrap() -> Sequence[str]:
    """Bubblewrap only opens the door: a user namespace, where this machine lets no other program make one."""
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError("bubblewrap is not installed")
    user = ("--unshare-user", "--uid", "0", "--gid", "0", "--cap-add", "ALL")
    return (found, *user, "--dev-bind", "/", "/", "--die-with-parent", "--")


_LIVE: weakref.WeakSet[Supervisor] = weakref.WeakSet()


def _forked() -> None:
    for supervisor in list(_LIVE):
        supervisor.abandon()
    _LIVE.clear()


os.register_at_fork(after_in_child=_forked)
