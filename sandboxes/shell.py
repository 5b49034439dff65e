r"""A bash that stays, and is given one request after the other over a stream of bytes.

A request is the length of a script, the script, and a nonce; the answer is what the script printed and then, behind
the nonce, its exit code. The shell reads the nonce only after the script has ended, so that no variable or memory of
the script's own holds it and nothing it prints can be taken for the end. A script that takes the shell itself into its
hands (same user, ptrace) can lie about what it and later commands of the same sandbox came to, and about nothing else:
whoever asks bounds what is read, and the time. So nothing is judged in a sandbox that such a script has been in.

A command runs in a copy of the shell (a fork), so that directory, variables, options and traps begin the same for each.
A plain one, words without any syntax that name no builtin which changes the shell, cannot change it and needs no copy.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stepgym.sandboxes.capture import Capture

PROGRAM = r"""while IFS= read -r -N 8 __n && IFS= LC_ALL=C read -r -N "$__n" __r; do
eval "$__r"; __s=$?; exec 9<&-; IFS= read -r -N 32 __n; printf '\036%s %d\036' "$__n" "$__s"; done"""
"""What the shell runs. In the locale C a character is a byte. A line would be read byte by byte."""
ARGUMENTS = ("bash", "--noprofile", "--norc", "+h", "-c", PROGRAM)
"""Without a memory of where programs are: one that has been installed since is found."""
LONGEST = 4 << 20
"""Bytes of the longest command."""
WATCH_SECONDS = 0.2
"""How often the limits are looked at while a command runs."""
DRAINED = 64
"""Most reads of what is there already: a process in the background may write faster than it is read."""

_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./:,@%+-]*(?: [A-Za-z0-9_./:,@%+=-]+)*")
_CHANGING = frozenset(
    """
    . alias bg bind break builtin caller case cd command compgen complete compopt continue coproc declare dirs disown
    do done elif else enable esac eval exec exit export fc fg fi for function getopts hash help history if in jobs kill
    let local logout mapfile popd printf pushd read readarray readonly return select set shift shopt source suspend
    then time times trap type typeset ulimit umask unalias unset until wait while
    """.split()  # noqa: SIM905
)
"""Builtins and reserved words: those that change the shell, and others not worth telling apart."""


class Channel(Protocol):
    """Both directions of a stream of bytes. Deadlines are of `time.monotonic`."""

    def send(self, data: bytes, deadline: float) -> None:
        """Write all of it. Raises `TimeoutError`, and `BrokenPipeError` where the other end is gone."""

    def receive(self, deadline: float) -> bytes:
        """Whatever comes first, at most 1 MiB; nothing where the shell has ended. Raises `TimeoutError`."""

    def exit_code(self) -> int | None:
        """Of the shell, once `receive` gave nothing; None where it cannot be known."""

    def close(self) -> None:
        """Give up our ends of the stream."""


class Ending(Enum):
    """How a request came to its end."""

    FINISHED = "finished"
    TIMED_OUT = "timed out"
    LIMIT = "limit"
    """A limit was gone beyond while it ran."""
    DIED = "died"
    """The shell itself ended: killed, or told to exit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request; its output is in the `Capture`."""

    ending: Ending
    exit_code: int | None = None
    why: str = ""
    """Which limit it was."""


class Shell:
    """The shell at the other end of a channel. After a request that did not finish it is of no further use."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def run(
        self, script: bytes, stdin: bytes, deadline: float, capture: Capture, over_limit: Callable[[], str]
    ) -> Outcome:
        """Have the shell run `script`; what it prints goes to `capture` as it comes.

        `over_limit` is asked every `WATCH_SECONDS` and says which limit was gone beyond, or nothing.
        """
        nonce = b"n" + secrets.token_hex(16)[1:].encode()  # no number: a script that skips it ends the shell
        try:
            self.channel.send(b"%08d%b%b%b" % (len(script), script, stdin, nonce), deadline)
            return self._receive(nonce, deadline, capture, over_limit)
        except TimeoutError:
            return Outcome(Ending.TIMED_OUT)
        except BrokenPipeError:
            return Outcome(Ending.DIED, self.channel.exit_code())

    def _receive(self, nonce: bytes, deadline: float, capture: Capture, over_limit: Callable[[], str]) -> Outcome:
        mark, longest = b"\x1e" + nonce + b" ", len(nonce) + 6  # the mark, an exit code and the byte that ends it
        pending, watched = b"", time.monotonic()
        while True:
            now = time.monotonic()
            if now - watched >= WATCH_SECONDS:
                watched = now
                if why := over_limit():
                    capture.add(pending)
                    return Outcome(Ending.LIMIT, why=why)
            if now > deadline:
                capture.add(pending)
                return Outcome(Ending.TIMED_OUT)
            try:
                data = self.channel.receive(min(deadline, now + WATCH_SECONDS))
            except TimeoutError:
                continue
            pending += data
            at = pending.find(mark)
            if at >= 0 and (end := pending.find(b"\x1e", at + len(mark))) >= 0:
                capture.add(pending[:at])
                return Outcome(Ending.FINISHED, int(pending[at + len(mark) : end]))
            if not data:
                capture.add(pending)
                return Outcome(Ending.DIED, self.channel.exit_code())
            held = min(len(pending), longest)
            capture.add(pending[: len(pending) - held])
            pending = pending[len(pending) - held :]

    def drain(self, into: Capture | None = None) -> bool:
        """Take what is there already: output of processes in the background, or what was written before a kill.

        False where the shell has ended.
        """
        try:
            for _ in range(DRAINED):
                data = self.channel.receive(0.0)
                if not data:
                    return False
                if into is not None:
                    into.add(data)
        except TimeoutError:
            pass
        return True


def stateless(command: str, cwd: str, env: Mapping[str, str], stdin: bytes | None) -> bytes:
    """The script that runs `command` in a copy of the shell, from `cwd`, with `env` beside the shell's environment."""
    go = f"cd -- {shlex.quote(cwd)}"
    if not env and stdin is None and _is_plain(command):
        return _encode(f"{{ {go} && {command}; }} </dev/null")
    exports = "".join(f" export {name}={shlex.quote(value)};" for name, value in env.items())
    inner = f"unset __n __r __s; {go} || exit;{exports} eval {shlex.quote(command)}"
    if stdin is None:
        return _encode(f"( {inner}\n) </dev/null")
    return _encode(f"{_store(len(stdin))}( {inner}\n) <&9 9<&-")


def stateful(command: str, env: Mapping[str, str], cwd: str | None, stdin: bytes | None) -> bytes:
    """The script that runs `command` in the shell itself, which keeps what it changes."""
    exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in env.items())
    go = f"cd -- {shlex.quote(cwd)} && " if cwd is not None else ""
    store, source = ("", "</dev/null") if stdin is None else (_store(len(stdin)), "<&9")
    return _encode(f"{store}{go}{exports}eval {shlex.quote(command)} {source}")


def _store(size: int) -> str:
    """Take what follows the script for the command's standard input, by a file that nobody else sees.

    Without room for it the shell ends: what is left of it in the stream would be taken for a request.
    """
    file = f"$__f/.stdin-{secrets.token_hex(8)}"
    return (
        f"for __f in /tmp /dev/shm /var/tmp .; do {{ >{file}; }} 2>/dev/null || continue;"
        f" head -c {size} >{file} && exec 9<{file} && rm -f {file} || exit 125; break; done;"
        " { : <&9; } 2>/dev/null || exit 125; unset __f; "
    )


def _is_plain(command: str) -> bool:
    return _PLAIN.fullmatch(command) is not None and command.partition(" ")[0] not in _CHANGING


def _encode(script: str) -> bytes:
    return script.encode("utf-8", "surrogateescape")
