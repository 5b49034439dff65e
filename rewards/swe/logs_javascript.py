"""Logs of JavaScript's runners that print failures alone, or whole suites.

Names of tests are those of the official grader, oddities included: where a failure is told over several lines, blanks
run together.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

from stepgym.rewards.swe.logs_by_line import LONGEST
from stepgym.rewards.swe.statuses import FAILED, PASSED, Statuses

ESCAPES = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")
_TITLE = re.compile(r'"fullTitle":\s"(.*)",\n')
_DURATIONS = (r"\s\([\d.]+ms\)", r"\s\([\d.]+\ss\)", r"\s\([\d.]+s\)")
_PASS_OR_FAIL = tuple(re.compile(rf"(PASS|FAIL)\s(.*){duration}") for duration in (*_DURATIONS, ""))
_WORDS = {"PASS": PASSED, "FAIL": FAILED}


def _failed(patterns: tuple[str, ...], log: str, *, blanks: bool) -> Statuses:
    """The last group of each match is a failed test; `blanks` run together are one space then."""
    found: Statuses = {}
    for pattern in patterns:
        for match in re.finditer(pattern, log, re.MULTILINE):
            name = match[match.re.groups]
            found[re.sub(r"\s+", " ", name).strip() if blanks else name] = FAILED
    return found


def parse_files(log: str) -> Statuses:
    """Jest without ``--verbose``: a line for each file of tests, with or without its duration."""
    found: Statuses = {}
    for line in log.split("\n"):
        if line.startswith(("PASS", "FAIL")) and len(line) <= LONGEST:
            for pattern in _PASS_OR_FAIL:
                if (match := pattern.match(line)) is not None:
                    found[match[2]] = _WORDS[match[1]]
                    break
    return found


def parse_grommet(log: str) -> Statuses:
    """Jest's files, where one that passed at any time has passed."""
    found: Statuses = {}
    for word in ("FAIL", "PASS"):
        for match in re.finditer(rf"^{word}\s(.*)", log, re.MULTILINE):
            found[re.sub(r"\s\([\d.]+\s?(?:ms|s)\)$", "", match[1].strip())] = _WORDS[word]
    return found


def parse_eslint(log: str) -> Statuses:
    """Mocha's numbered failures, each up to the error that it ended in."""
    found: Statuses = {}
    for match in re.finditer(r"\s{2}\d+\)([\s\S]*?)\s+(?:.*)Error", log):
        found[re.sub(r"\s+", " ", match[1]).strip()] = FAILED
    return found


def parse_marked(log: str) -> Statuses:
    """Jasmine's numbered failures."""
    return {line.split(")", 1)[1].strip(): FAILED for line in log.split("\n") if re.match(r"\d+\)\s", line)}


def parse_chart(log: str) -> Statuses:
    """Karma's failures in Chrome."""
    return _failed((r"Chrome\s[\d.]+[^\S\r\n]\(.+?\)[^\S\r\n](.*)FAILED$",), ESCAPES.sub("", log), blanks=False)


def parse_bpmn(log: str) -> Statuses:
    """Karma's failures in PhantomJS or Chrome."""
    patterns = (
        r"2KPhantomJS\s[\d.]+\s\(Linux\s[\d.]+\)\s(.*)FAILED\n",
        r"2KPhantomJS\s[\d.]+\s\(Linux\sx86_64\)\s(.*)FAILED\n",
        r"Chrome\sHeadless\s(.*)\s\(Linux\sx86_64\)\s(.*)FAILED\n",
        r"HeadlessChrome\s[\d.]+\s\(Linux\s[\d.]+\)\s(.*)FAILED\n",
    )
    return _failed(patterns, log, blanks=False)


def parse_openlayers(log: str) -> Statuses:
    """Karma's failures in Chrome, Mocha's numbered ones, and images that differ from their baselines."""
    patterns = (
        r"Chrome\sHeadless\s[\d.]+\s\(Linux\s[\d._\S]+\)\s(.*)\sFAILED\n",
        r"Chrome\s[\d.]+\s\(Linux\s[\d._\S]+\)\s(.*)FAILED\n",
        r"^\s{2}\d+\)([\s\S]*?)Error:",
        r"^case\s(.*):\smismatch",
    )
    return _failed(patterns, log, blanks=True)


def parse_prism(log: str) -> Statuses:
    """Mocha's JSON after each trace of its command. Raises `ValueError` for JSON that is broken."""
    found: Statuses = {}
    for part in log.split("./node_modules/.bin/mocha tests/run.js --reporter json")[1:]:
        results = json.loads("{" + part.split("{", 1)[-1].rsplit("}", 1)[0] + "}")
        found.update((test["fullTitle"], FAILED) for test in results["failures"])
        found.update((test["fullTitle"], PASSED) for test in results["passes"])
    return found


def parse_titles(log: str) -> Statuses:
    """Mocha's JSON, of which the titles are read alone."""
    found: Statuses = {}
    for part in log.split("./node_modules/.bin/mocha --reporter json")[1:]:
        passes = part.split('"passes": [')[-1].rsplit("]", 1)[0]
        failures = part.split('"failures": [')[-1].rsplit("],", 1)[0]
        found.update((title, PASSED) for title in _TITLE.findall(passes))
        found.update((title, FAILED) for title in _TITLE.findall(failures))
    return found


def parse_p5(log: str) -> Statuses:
    """Mocha's numbered failures, whose lines are indented more and more; printed JSON and XML are left out."""
    found: Statuses = {}
    for match in re.finditer(r"^\s*\d+\)(.{0,1000}?):", _without_blocks(ESCAPES.sub("", log)), re.M | re.S):
        lines = match[1].split("\n")
        indents = [0, *(len(line) - len(line.lstrip()) for line in lines)]
        if all(before < after for before, after in pairwise(indents)):
            found[":".join(line.strip() for line in lines)] = FAILED
    return found


def _without_blocks(log: str) -> str:
    kept = []
    inside = {"}": False, "]": False}
    for line in log.split("\n"):
        end = line.rstrip()
        if end.endswith(("{", "[")):
            inside["}" if end.endswith("{") else "]"] = True
        elif inside.get(end):
            inside[end] = False
        elif not any(inside.values()) and (end[:1] + end[-1:]) not in ("{}", "[]"):
            kept.append(line)
    log = "\n".join(kept)
    block = re.compile(r"<(\w+)>[\s\S]*?</\1>")
    while (match := block.search(log)) is not None:  # of blocks of one name in each other, the outer beginnings stay
        tag = f"<{match[1]}>"
        log = log[: match.start()] + tag * (match[0].count(tag) - 1) + log[match.end() :]
    return log
