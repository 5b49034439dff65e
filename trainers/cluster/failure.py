"""Why a run broke, from the tail of its log."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

TAIL = 200_000
"""Bytes of the log that are looked at."""
LONGEST = 400
"""Characters of a cause."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SPEAKER = re.compile(r"^\([^()]*pid=[^()]*\) ")
_ERROR = re.compile(r"^((?:\w+\.)*)(\w*(?:Error|Exception|Interrupt))(?:\([^)]*\))?(?:: (.+))?$")
_DIED = re.compile(r"^\s+class_name: (\w+)$")
_RAYS = "ray.exceptions."
"""Errors that are no cause, but say in which process one was."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended too early."""

    cause: str
    """A sentence without its full stop."""
    final: bool
    """Whether it would break in the same way again: bad input, found by a process of the run."""


def read_failure(log: Path, start: int, code: int) -> Failure:
    """Of a process that ended with `code`; what it said begins at byte `start` of the log."""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(start, file.tell() - TAIL))
        lines = [_plain(line) for line in file.read().decode(errors="replace").splitlines()]
    errors = [found for line in lines if (found := _ERROR.match(line))]
    causes = [error for error in errors if not error[1].startswith(_RAYS)] or errors
    died = [found[1] for line in lines if (found := _DIED.match(line))]
    if code < 0 and not causes:
        return Failure(f"the process that ran OpenRLHF was killed by {signal.Signals(-code).name}", final=False)
    if not causes:
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return Failure(f"OpenRLHF ended with {code}: {said.strip()[:LONGEST]}", final=False)
    package, kind, message = causes[-1].groups()
    ours = package.startswith("stepgym.")
    cause = message if ours and message else f"{kind}: {message}" if message else kind
    if kind == "ActorDiedError" and died:
        cause = f"{died[-1]}: {message}"
    return Failure(cause[:LONGEST].rstrip("."), final=ours and kind in ("ConfigError", "TaskError"))


def _plain(line: str) -> str:
    return _SPEAKER.sub("", _COLOUR.sub("", line)).rstrip()
