"""What every back end with a shell shares: commands, files and the lock that makes them one at a time."""

from __future__ import annotations

import errno
import os
import posixpath
import shlex
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from stepgym.errors import SandboxError
from stepgym.sandboxes.capture import Capture
from stepgym.sandboxes.contract import KILLED, READ_LIMIT, ExecResult, Sandbox, Spec, check_environment, encoded
from stepgym.sandboxes.shell import LONGEST, Channel, Ending, Outcome, Shell, stateful, stateless

FILE_SECONDS = 120.0
"""Time that reading or writing a file may take before the sandbox counts as broken."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ShellSandbox(Sandbox):
    """A sandbox whose commands go through a persistent shell. A back end gives the shells, and kills.

    It implements the methods below beside `start`, `close`, `capabilities`, `snapshot`, `fork` and `reset`.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._lock = threading.RLock()
        self._shells: dict[bool, Shell] = {}
        """The session at True, the other at False."""

    @abstractmethod
    def _open(self) -> Channel:
        """A fresh shell (`shell.ARGUMENTS`) inside. Raises `SandboxError`."""

    @abstractmethod
    def _kill(self) -> None:
        """Kill every process inside, shells included; return when they are dead. Raises `SandboxError`."""

    @abstractmethod
    def _check(self) -> None:
        """Raise `SandboxError` unless the sandbox is alive: started, not removed from outside."""

    def _over_limit(self) -> str:
        """Asked while a command runs: the clause saying which limit was gone beyond, empty for none."""
        return ""

    def _search_path(self) -> str:
        """Where programs are looked for."""
        return PATH

    def _noticed(self) -> str:
        """Asked after a command that failed: the clause saying what of ours made it fail, empty for nothing."""
        return ""

    def environment(self) -> Mapping[str, str]:
        """What a shell finds in its environment."""
        return {"PATH": self._search_path(), "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **self.spec.env}

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
        started = time.monotonic()
        check_environment(env or {})
        if refusal := _refusal(command) or _refusal(cwd or "", "directory"):
            return ExecResult(output=refusal, exit_code=2, bytes_total=len(refusal))
        capture = Capture(self.spec.limits.output if output_limit is None else output_limit)
        given = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
        script = _script(command, self._path(cwd or "."), env or {}, given, stateful, moves=cwd is not None)
        outcome = self._run(script, given or b"", started + timeout, capture, session=stateful)
        return ExecResult(
            output=capture.text(),
            exit_code=KILLED if outcome.exit_code is None else outcome.exit_code,
            timed_out=outcome.ending is Ending.TIMED_OUT,
            truncated=capture.truncated,
            bytes_total=capture.total,
            seconds=time.monotonic() - started,
            why=_why(outcome, timeout, stateful),
        )

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """See `Sandbox.read`."""
        content = self._file(f'{_REGULAR} head -c {limit + 1} -- "$p"', path, b"", limit + 1)
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"more than {limit} bytes", path)
        return content

    def write(self, path: str, content: str | bytes) -> None:
        """See `Sandbox.write`."""
        data = encoded(content, path) if isinstance(content, str) else content
        folder = shlex.quote(posixpath.dirname(self._path(path)))
        try:
            self._file(f'{_REGULAR} mkdir -p -- {folder} && cat > "$p"', path, data, 1 << 16)
        except FileExistsError:  # what mkdir says of a file where a folder should be
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None

    def _path(self, path: str) -> str:
        return posixpath.join(self.spec.workdir, path)

    def _file(self, command: str, path: str, data: bytes, limit: int) -> bytes:
        """What `command` prints, where ``$p`` is the path. The error it reports becomes an `OSError`."""
        if _refusal(path) or len(path) > 4096:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        capture = Capture(limit)
        script = stateless(f"p={shlex.quote(self._path(path))}; {command}", "/", {"LC_ALL": "C"}, data or None)
        outcome = self._run(script, data, time.monotonic() + FILE_SECONDS, capture)
        if outcome.ending is Ending.DIED:  # by the hand of a process in the background, which is dead by now as well
            capture = Capture(limit)
            outcome = self._run(script, data, time.monotonic() + FILE_SECONDS, capture)
        if outcome.ending is not Ending.FINISHED:
            raise SandboxError(f"{path} could not be read or written ({outcome.why or outcome.ending.value})")
        if outcome.exit_code != 0:
            raise _error(capture.text(), path)
        return capture.raw()

    def _run(self, script: bytes, stdin: bytes, deadline: float, capture: Capture, *, session: bool = False) -> Outcome:
        """Run a script in one of the shells. Whatever happens, the sandbox is usable after it, or `SandboxError`."""
        with self._lock:
            self._check()
            try:
                if session not in self._shells:
                    self._shells[session] = Shell(self._open())
                shell = self._shells[session]
                if not shell.drain():  # killed by what a former command left in the background
                    shell.channel.close()
                    shell = self._shells[session] = Shell(self._open())
                outcome = shell.run(script, stdin, deadline, capture, self._over_limit)
                if outcome.ending is not Ending.FINISHED:
                    self._end_processes(shell, capture)
                if outcome.ending is Ending.DIED or (outcome.ending is Ending.FINISHED and outcome.exit_code):
                    outcome = replace(outcome, why=self._noticed())
            except BaseException:
                self._end_processes()
                raise
            return outcome

    def _end_processes(self, shell: Shell | None = None, capture: Capture | None = None) -> None:
        """Kill everything inside and forget the shells; what `shell` had said until then goes to `capture`."""
        try:
            self._check()
            self._kill()
            if shell is not None:
                shell.drain(capture)
        finally:
            self._forget_shells()

    def _forget_shells(self) -> None:
        for shell in self._shells.values():
            shell.channel.close()
        self._shells.clear()


_REGULAR = '[ -f "$p" ] || [ -d "$p" ] || [ ! -e "$p" ] || { echo "$p: Invalid argument"; exit 1; };'
"""A pipe or a device is neither read nor written: it might never end."""


def _script(
    command: str, place: str, env: Mapping[str, str], stdin: bytes | None, session: bool, *, moves: bool
) -> bytes:
    if session:
        return stateful(command, env, place if moves else None, stdin)
    return stateless(command, place, env, stdin)


def _refusal(text: str, what: str = "command") -> str:
    if "\0" in text:
        return f"bash: a {what} cannot hold a NUL character\n"
    if len(text) > LONGEST:
        return f"bash: a {what} cannot be longer than {LONGEST} characters\n"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"bash: a {what} cannot hold half a character (a lone surrogate)\n"
    return ""


def _why(outcome: Outcome, timeout: float, session: bool) -> str:
    if outcome.ending is Ending.TIMED_OUT:
        return f"killed after {timeout:g} s"
    if outcome.ending is Ending.DIED and not outcome.why:
        return "the session ended" if session and outcome.exit_code != KILLED else "the sandbox's shell was killed"
    return outcome.why


def _error(printed: str, path: str) -> OSError:
    """The error that a program reported in its own words, which end in the C library's."""
    said = printed.strip()
    for number in errno.errorcode:
        if said.endswith(os.strerror(number)):
            return OSError(number, os.strerror(number), path)  # of the subclass that fits the number
    return OSError(errno.EIO, said[-200:] or "no reason given", path)
