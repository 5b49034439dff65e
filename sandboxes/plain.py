"""No sandbox: commands run as the user who started them, in a folder of their own. To be asked for by name.

For machines where nothing can be isolated and commands one would run oneself. A command sees and can change whatever
that user can; a process that leaves its session and cleans its environment outlives a time-out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from stepgym.errors import SandboxError
from stepgym.sandboxes.base import PATH, ShellSandbox
from stepgym.sandboxes.contract import Capability, Spec
from stepgym.sandboxes.pipes import PipeChannel, private_input
from stepgym.sandboxes.removal import remove_tree
from stepgym.sandboxes.shell import ARGUMENTS, Channel

_MARK = "STEPGYM_SANDBOX"
_KILL_SECONDS = 10.0


class PlainSandbox(ShellSandbox):
    """Runs commands without isolation or limits. `Spec.workdir` is a temporary folder; images and binds are refused."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        if spec.image or spec.binds or spec.allow:
            raise SandboxError("sandbox 'none' has no image, no binds and no proxy: it is this machine as it is")
        self._asked = spec
        self._folder: Path | None = None
        self._token = secrets.token_hex(16)
        self._points: set[str] = set()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Snapshots, by copying."""
        return frozenset({Capability.SNAPSHOTS})

    def start(self) -> Self:
        """See `Sandbox.start`."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="stepgym-"))
                self.spec = replace(self._asked, workdir=str(self._folder / "work"))
                self._fill()
        return self

    def _search_path(self) -> str:
        return os.environ.get("PATH", PATH)

    def environment(self) -> Mapping[str, str]:
        """As in every sandbox, with a home of its own."""
        return {**super().environment(), "HOME": self.spec.workdir, _MARK: self._token}

    def snapshot(self) -> str:
        """See `Sandbox.snapshot`."""
        with self._lock:
            self._end_processes()
            name = secrets.token_hex(8)
            _copy(Path(self.spec.workdir), self._point(name))
            self._points.add(name)
            return name

    def fork(self, point: str) -> PlainSandbox:
        """See `Sandbox.fork`."""
        with self._lock:
            self._check()
            folder = self._point(point)
            if point not in self._points:
                raise SandboxError(f"no snapshot {point!r} of this sandbox")
            other = PlainSandbox(self._asked)
            other._folder = Path(tempfile.mkdtemp(prefix="stepgym-"))
            other.spec = replace(self._asked, workdir=str(other._folder / "work"))
            _copy(folder, other._point("start"))
            other._fill()
            return other

    def reset(self) -> None:
        """See `Sandbox.reset`."""
        with self._lock:
            self._end_processes()
            _remove(Path(self.spec.workdir))
            self._fill()

    def close(self) -> None:
        """See `Sandbox.close`."""
        with self._lock:
            if self._folder is not None:
                self._forget_shells()
                self._kill()
                _remove(self._folder)
                self._folder = None
                self._points.clear()

    def _fill(self) -> None:
        start = self._point("start")
        source = start if start.is_dir() else self._asked.workspace
        if source is None:
            Path(self.spec.workdir).mkdir()
        else:
            _copy(source, Path(self.spec.workdir))

    def _point(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"point-{name}"

    def _check(self) -> None:
        if self._folder is None or not self._folder.is_dir():
            raise SandboxError("the sandbox is not started" if self._folder is None else "its folder was removed")

    def _open(self) -> Channel:
        theirs, ours = private_input()
        try:
            process = subprocess.Popen(
                ARGUMENTS,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.spec.workdir,
                env=self.environment(),
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        assert process.stdout is not None
        self._processes.append(process)
        return PipeChannel(ours, os.dup(process.stdout.fileno()), _Shell(process))

    def _kill(self) -> None:
        deadline = time.monotonic() + _KILL_SECONDS
        for process in self._processes:  # one that is about to begin does not show its mark yet
            process.kill()
        while found := list(self._alive()):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._processes:
                process.poll()
            if time.monotonic() > deadline:
                raise SandboxError(f"{len(found)} processes of the sandbox cannot be killed")
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self._processes.clear()

    def _alive(self) -> Iterator[int]:
        """Every process below ours, by the mark in its environment."""
        mark = f"{_MARK}={self._token}".encode()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    marked = mark in Path("/proc", entry, "environ").read_bytes().split(b"\0")
                except OSError:
                    continue  # ended meanwhile, or another user's
                if marked:
                    yield int(entry)


class _Shell:
    """The process of a shell."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._descriptor = os.pidfd_open(process.pid)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def exit_code(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code


def _copy(source: Path, target: Path) -> None:
    """With links, pipes, times and permissions."""
    command = ["cp", "-a", "-T", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise SandboxError(f"the sandbox's files could not be copied: {done.stderr[-300:]}")


def _remove(folder: Path) -> None:
    if error := remove_tree(folder):
        raise SandboxError(f"the sandbox's files could not be removed: {error}") from error
