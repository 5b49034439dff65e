"""Logs of pytest, in the dialects that the repositories of SWE-bench need.

Its short summary (``-rA``) has a line for each test: a status, the test's id and, after failures, " - " and a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stepgym.rewards.swe.statuses import FAILED, PASSED, SKIPPED, Statuses, TestStatus

_WORDS = tuple(status.value for status in TestStatus)
_COUNT = re.compile(r"\[\d+\]$")
_COLOUR = re.compile(r"\[(\d+)m")
_CONTROLS = {code: None for code in range(1, 32) if chr(code) != "\n"}


def parse_pytest(log: str) -> Statuses:
    """The status and the word after it, so that an id with a space in it is cut there."""
    return _parse(log, str)


def parse_pytest_options(log: str) -> Statuses:
    """As `parse_pytest`; a parameter that is an absolute path is cut to the file's name, for folders differ by run."""
    return _parse(log, _without_folder)


def parse_matplotlib(log: str) -> Statuses:
    """As `parse_pytest`; mouse buttons count by number, for later Pythons print their names."""
    return parse_pytest(log.replace("MouseButton.LEFT", "1").replace("MouseButton.RIGHT", "3"))


def parse_pytest_v2(log: str) -> Statuses:
    """The status and the whole id after it, or before it, as pytest's progress lines have it; colours are taken out."""
    found: Statuses = {}
    for line in _COLOUR.sub("", log).translate(_CONTROLS).split("\n"):
        if line.startswith(_WORDS):
            words = (line.split(" - ", 1)[0] if line.startswith(FAILED) else line).split()
            if len(words) > 1 and not _counts_skips(words[0], words[1]):
                found[" ".join(words[1:])] = words[0]
        elif line.endswith(_WORDS):
            words = line.split()
            if len(words) > 1:
                found[" ".join(words[:-1])] = words[-1]
    return found


def parse_seaborn(log: str) -> Statuses:
    """Passes and failures alone, with the status before the test or after it."""
    found: Statuses = {}
    for line in log.split("\n"):
        if PASSED not in line and FAILED not in line:
            continue
        words = line.split(maxsplit=2)
        if len(words) < 2:
            continue
        if line.startswith(FAILED):
            found[words[1]] = FAILED
        elif f" {PASSED} " in line:
            if words[1] == PASSED:
                found[words[0]] = PASSED
        elif line.startswith(PASSED):
            found[words[1]] = PASSED
    return found


def _parse(log: str, name: Callable[[str], str]) -> Statuses:
    found: Statuses = {}
    for line in log.split("\n"):
        if line.startswith(_WORDS):
            words = (line.replace(" - ", " ") if line.startswith(FAILED) else line).split(maxsplit=2)
            if len(words) > 1 and not _counts_skips(words[0], words[1]):
                found[name(words[1])] = words[0]
    return found


def _counts_skips(status: str, test: str) -> bool:
    """Whether a line is ``SKIPPED [2] path:line: reason``, which names no test."""
    return status == SKIPPED and _COUNT.match(test) is not None


def _without_folder(test: str) -> str:
    opening, closing = test.find("["), test.rfind("]")
    if not 0 <= opening < closing:
        return test
    option = test[opening + 1 : closing]
    if option.startswith("/") and not option.startswith("//") and "*" not in option:
        option = "/" + option.rsplit("/", 1)[-1]
    return f"{test[:opening]}[{option}]"
