"""Logs of JavaScript's runners in which a test stands indented below its suites, and of Quarto's."""

from __future__ import annotations

import re

from stepgym.errors import TaskError
from stepgym.rewards.swe.logs_by_line import LONGEST
from stepgym.rewards.swe.logs_javascript import ESCAPES, parse_files, parse_titles
from stepgym.rewards.swe.statuses import FAILED, PASSED, Statuses


class Suites:
    """The suites around a line, told by their indents."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._indents: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def enter(self, line: str) -> None:
        """A suite begins, and ends those that are indented as far or further; a line without indent is no suite."""
        indent = len(line) - len(line.lstrip())
        if indent:
            while self._indents and self._indents[-1] >= indent:
                self._indents.pop()
                self._open.pop()
            self._open.append(line.strip())
            self._indents.append(indent)

    def name(self, test: str) -> str:
        """The full name of a test."""
        return " - ".join([*self._open, test])


def parse_calypso(log: str) -> Statuses:
    """Jest's trees, after each trace of its command. Raises `ValueError` for a test that is printed in another form."""
    found: Statuses = {}
    suites = Suites()
    marks = {"✓": PASSED, "✕": FAILED}
    for part in log.split(" ./node_modules/.bin/jest ")[1:]:
        for line in part.split("\n"):
            if line.startswith(("Test Suites", "  ● ")):
                break
            mark = line.strip()[:1]
            if mark in marks:
                duration = r"\(\d+ms\)$" if re.search(r"\(\d+ms\)", line) else ""
                if (test := re.match(rf"\s+{mark}\s(.*){duration}", line)) is None:
                    raise ValueError(f"not a test of Jest: {line[:80]!r}")
                found[(suites.name(test[1]) if suites else f" - {test[1]}").strip()] = marks[mark]
            else:
                suites.enter(line)
    return found


def parse_next(log: str, version: str) -> Statuses:
    """Karma's trees or, of version 1.27, Cypress's."""
    return _parse_cypress(log) if version == "1.27" else _parse_karma_trees(log)


def _parse_karma_trees(log: str) -> Statuses:
    found: Statuses = {}
    suites = Suites()
    log = re.sub(r"AssertionError:\s+#([\s\S]*?)\n\n", "", ESCAPES.sub("", log))
    for part in log.split(" xvfb-run ")[1:]:
        for line in part.split("Starting browser Chrome")[-1].split("\n"):
            if line.startswith("TOTAL"):
                break
            if line.strip().startswith(("ERROR", "LOG", "WARN", "Check", "in")):
                continue
            for mark, status in (("✗", FAILED), ("✓", PASSED)):
                if mark in line:
                    found[suites.name(line.split(mark, 1)[1].lstrip())] = status
                    break
            else:
                suites.enter(line)
    return found


def _parse_cypress(log: str) -> Statuses:
    found: Statuses = {}
    parts = re.split(r"Running:(?:.*)\)\n{3}\s{2}(.*)\n", log)
    for suite, part in zip(parts[1::2], parts[2::2], strict=True):
        for pattern, status in ((r"^\s{4}\d+\)\s(.*)", FAILED), (r"^\s{4}✓\s(.*)\(", PASSED)):
            for test in re.findall(pattern, part, re.MULTILINE):
                found[f"{suite}: {test.strip()}"] = status
    return found


def parse_lighthouse(log: str, version: str) -> Statuses:
    """Mocha's trees, Jest's files or Mocha's JSON, by the version."""
    if version in ("9.5", "10.0", "10.2"):
        return _parse_mocha_trees(log)
    try:
        jest = float(version) >= 3
    except ValueError:
        raise TaskError(f"parse_log_lighthouse reads logs by the version, and {version!r} is not a number") from None
    return parse_files(log) if jest else parse_titles(log)


def _parse_mocha_trees(log: str) -> Statuses:
    found: Statuses = {}
    patterns = [
        (re.compile(mark + name), status)
        for mark, status in ((r"✔\s", PASSED), (r"\d+\)\s", FAILED))
        for name in (r"(.*)\s\(\d+m+s\)", r"(.*)")
    ]
    for part in re.split(r"running\s\d+\stest\sfiles", log)[1:]:
        suites = Suites()
        for line in re.split(r"\d+\spassing", part)[0].strip().split("\n"):
            for pattern, status in patterns:
                if len(line) <= LONGEST and (test := pattern.match(line.strip())) is not None:
                    found[suites.name(test[1])] = status
                    break
            else:
                suites.enter(line)
    return found


def parse_highlight(log: str) -> Statuses:
    """Mocha's tree down to its counts; the last line above a test that is indented is its suite."""
    found: Statuses = {}
    suite: list[str] = []
    for line in re.split(r"\n[ \t]*\d+ passing", log)[0].split("\n"):
        bare = line.strip()
        if bare.startswith(("✓", "✔")):
            found[".".join([*suite, _untimed(line.split(bare[0], 1)[1])])] = PASSED
        elif re.match(r"\d+\)", bare):
            found[".".join([*suite, _untimed(line.split(")", 1)[1])])] = FAILED
        elif line.startswith("  "):
            suite = [bare]
    return found


def _untimed(name: str) -> str:
    return re.sub(r"\(\d+ms\)", "", name).strip()


def parse_karma(log: str) -> Statuses:
    """Karma's tree, from browser to summary. Raises `IndexError` where more suites end than began."""
    found: Statuses = {}
    suites: list[str] = []
    level, started = -1, False
    for line in log.split("\n"):
        if line.startswith("SUMMARY:"):
            break
        if "Starting browser" in line:
            started = True
        elif started and (match := re.match(r"(\s*)?([✔✖])?\s(.*)$", line)) is not None:
            indent, mark, name = match.groups()
            if mark:
                found[" > ".join([*suites, name])] = PASSED if mark == "✔" else FAILED
            elif indent and len(indent) != level:
                if len(indent) > level:
                    suites.append(name)
                else:
                    suites.pop()
                level = len(indent)
    return found


def parse_quarto(log: str) -> Statuses:
    """Deno's ``[smoke] > name ... ok``; folders of temporary files are numbered in the order in which they are met."""
    found: Statuses = {}
    numbers: dict[str, int] = {}
    for line in log.split("\n"):
        if "ERRORS" in line or "failures:" in line:
            break
        if "[smoke]" not in line and "[unit]" not in line:
            continue
        for pattern in (r"/tmp/(\w+)\.qmd", r"/tmp/(\w+)/"):
            if (path := re.search(pattern, line)) is not None:
                line = re.sub(pattern, f"/tmp/{numbers.setdefault(path[0], len(numbers))}", line)
        name = line.split("...", 1)[0].strip()
        rejected = (
            line.startswith("test result:")
            or "34mINFO" in line
            or all(word in line for word in ("passed", "failed", "steps"))
        )
        if not rejected:
            if "32mok" in line:
                found[name] = PASSED
            elif "31mFAILED" in line or name not in found:
                found[name] = FAILED
    return found
