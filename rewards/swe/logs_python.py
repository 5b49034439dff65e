"""Logs of the Python repositories that have a runner of their own: Django's, which is unittest's, and SymPy's.

The log is what untrusted code printed, so each is read in time linear in its length, where the customary regular
expressions can be made to take the square.
"""

from __future__ import annotations

import re

from stepgym.rewards.swe.statuses import ERROR, FAILED, PASSED, SKIPPED, Statuses

_OK = (" ... ok", " ... OK", " ...  OK")
_VERSION = "--version is equivalent to version"
_MIGRATION = "Applying sites.0002_alter_domain_unique...test_no_migrations"
_INSTALLED = re.compile(r"(.*?)\s\.\.\.\sTesting against Django installed in ")
_SILENCED = re.compile(r" silenced\)\.\nok$", re.MULTILINE)
_SERVER_ERROR = "Internal Server Error: /"
_BEFORE_ERROR = re.compile(r"(.*?)\s\.\.\.\s" + re.escape(_SERVER_ERROR))
_BEFORE_LAST_ERROR = re.compile(r"(.*)\s\.\.\.\s" + re.escape(_SERVER_ERROR))
_ERROR_THEN_OK = re.compile(r"/\nok$", re.MULTILINE)
_CHECKED = re.compile(r"^(.*?)\s\.\.\.\sSystem check identified no issues \(0 silenced\)\nok$", re.MULTILINE)


def parse_django(log: str) -> Statuses:
    """unittest's ``test (module.Class) ... ok``, also where other output stands between the test and its ``ok``."""
    found: Statuses = {}
    last = None
    for line in log.split("\n"):
        line = line.strip()
        if _VERSION in line:
            found[_VERSION] = PASSED
        if " ..." in line:
            if " ... " in line:
                last = line.split(" ... ", 1)[0]
            line = _read_progress(line, found)
        if line.startswith(("FAIL:", "ERROR:")):
            words = line.split(maxsplit=2)
            found[words[1]] = FAILED if line.startswith("FAIL:") else ERROR
        if line.startswith("ok") and last is not None:
            found[last] = PASSED
    _read_interrupted(log, found)
    return found


def _read_progress(line: str, found: Statuses) -> str:
    """Take the verdict from the end of a line; returns the line as the rules after this one see it."""
    for suffix in _OK:
        if line.endswith(suffix):
            if line.startswith(_MIGRATION):
                line = line.split("...", 1)[-1].strip()
            found[line.rsplit(suffix, 1)[0]] = PASSED
            break
    if " ... skipped" in line:
        found[line.split(" ... skipped", 1)[0]] = SKIPPED
    for suffix, status in ((" ... FAIL", FAILED), (" ... ERROR", ERROR)):
        if line.endswith(suffix):
            found[line.split(suffix, 1)[0]] = status
    return line


def _read_interrupted(log: str, found: Statuses) -> None:
    """Tests that passed, though a message of Django, over several lines, stands between their name and their ``ok``."""
    if "Testing against Django installed in " in log:
        _read_installed(log, found)
    if _SERVER_ERROR in log:
        _read_server_errors(log, found)
    for match in _CHECKED.finditer(log):
        found[match[1]] = PASSED


def _read_installed(log: str, found: Statuses) -> None:
    start = 0
    while start <= len(log):
        if (head := _INSTALLED.match(log, start)) is not None:
            tail = _SILENCED.search(log, head.end())
            if tail is None:
                return  # nor is there one for any later line
            found[head[1]] = PASSED
            start = tail.end()
        start = _next_line(log, start)


def _read_server_errors(log: str, found: Statuses) -> None:
    """A path follows the message, and ends its line with a slash. Where the message begins at several places on a line,
    either all have such an end or none, but for one place on the lines below: so the first and the last are tried."""
    start = 0
    while start <= len(log):
        for pattern in (_BEFORE_ERROR, _BEFORE_LAST_ERROR):
            if (head := pattern.match(log, start)) is None:
                break
            end = log.find("\n", head.end())
            if end > head.end() and (tail := _ERROR_THEN_OK.match(log, end - 1)) is not None:
                found[head[1]] = PASSED
                start = tail.end()
                break
        start = _next_line(log, start)


def _next_line(log: str, start: int) -> int:
    end = log.find("\n", start)
    return len(log) + 1 if end < 0 else end + 1


def parse_sympy(log: str) -> Statuses:
    """``test_name ok|F|E``, and the headings of failures, ``____ path.py:test_name ____``."""
    found: Statuses = {}
    lines = log.split("\n")
    for line in lines:
        if ".py:" in line:
            heading = line[line.find(" ") + 1 : max(line.rfind(" "), 0)]
            if ".py:" in heading:
                found[heading] = FAILED
    for line in lines:
        line = line.strip()
        if line.startswith("test_"):
            for ending, status in ((" E", ERROR), (" F", FAILED), (" ok", PASSED)):
                if line.endswith(ending):
                    found[line.split(maxsplit=1)[0]] = status
    return found
