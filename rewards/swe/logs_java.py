"""Logs of Maven, whose tests are told by the commands that ran them, and of Gradle and doctest, which span lines."""

from __future__ import annotations

import re
from collections import deque

from stepgym.rewards.swe.logs_by_line import LONGEST
from stepgym.rewards.swe.statuses import FAILED, PASSED, Statuses

_WORDS = {"PASSED": PASSED, "FAILED": FAILED, "SUCCESS": PASSED, "FAILURE": FAILED}


def parse_maven(log: str) -> Statuses:
    """One test a command: the n-th ``-Dtest=`` that still waits belongs to the next ``BUILD``.

    A trace of the shell may come later than what Maven printed, so builds that no test waited for are handed out last.
    """
    found: Statuses = {}
    waiting: deque[str] = deque()
    early: deque[str] = deque()
    for line in log.split("\n"):
        if len(line) > LONGEST:
            continue
        line = line.strip()
        if (command := re.match(r".*-Dtest=(\S+)", line)) is not None:
            waiting.append(command[1])
        if (build := re.match(r".*BUILD (SUCCESS|FAILURE)$", line)) is not None:
            if waiting:
                found[waiting.popleft()] = _WORDS[build[1]]
            else:
                early.append(_WORDS[build[1]])
    found.update(zip(waiting, early, strict=False))
    return found


def parse_gradle(log: str) -> Statuses:
    """``Class > test PASSED``, also where other output stands between the test and its status."""
    found: Statuses = {}
    waiting = ""
    for line in log.split("\n"):
        if len(line) > LONGEST:
            continue
        line = line.strip()
        if (whole := re.match(r"([^>].+)\s+(PASSED|FAILED)$", line)) is not None:
            found[whole[1]] = _WORDS[whole[2]]
            waiting = ""
        elif (test := re.match(r"([^>]\S*\s+>\s+\S+)$", line)) is not None:
            waiting = test[1]
        elif waiting and line in ("PASSED", "FAILED"):
            found[waiting] = _WORDS[line]
            waiting = ""
    return found


def parse_doctest(log: str) -> Statuses:
    """The XML report of doctest for C++ (``-s -r=xml``). Raises `SyntaxError` for XML that is broken."""
    from xml.etree import ElementTree  # an expensive import, for one repository

    start = log.find("<doctest")
    end = log.find("</doctest>", start)
    if start < 0:
        return {}
    found: Statuses = {}
    for case in ElementTree.fromstring(log[start : end + len("</doctest>")]).findall(".//TestCase"):
        for part in case.findall(".//SubCase"):
            passed = all(expression.get("success") == "true" for expression in part.findall(".//Expression"))
            found[f"{case.get('name')} > {part.get('name')}"] = PASSED if passed else FAILED
    return found
