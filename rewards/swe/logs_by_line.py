"""Logs in which one line says what became of one test, for the runners of languages other than Python.

A `LineFormat` is a pattern of such a line, stripped, with the groups ``name`` and ``word``, and what the words mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from stepgym.errors import TaskError
from stepgym.rewards.swe.statuses import FAILED, PASSED, SKIPPED, Statuses

LONGEST = 4096
"""Longer lines name no test; and since patterns may take the square of a line's length, they are not looked at."""


@dataclass(frozen=True)
class LineFormat:
    """How a runner prints a test. Called with a log, it gives the statuses."""

    pattern: str
    words: Mapping[str, str]
    cut: str = ""
    """What is taken out of the names of failed tests, a pattern."""
    strip: bool = False
    """Take the blanks off names."""

    @cached_property
    def _line(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def __call__(self, log: str) -> Statuses:
        """The statuses in a log."""
        found: Statuses = {}
        for line in log.split("\n"):
            if len(line) > LONGEST or (match := self._line.match(line.strip())) is None:
                continue
            if (status := self.words.get(match["word"])) is not None:
                name = match["name"].strip() if self.strip else match["name"]
                found[re.sub(self.cut, "", name) if self.cut and status == FAILED else name] = status
        return found


GOTEST = LineFormat(
    r"--- (?P<word>PASS|FAIL|SKIP): (?P<name>.+) \(.+\)$", {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED}
)
CARGO = LineFormat(r"test\s+(?P<name>\S+)\s+\.\.\.\s+(?P<word>\w+)$", {"ok": PASSED, "FAILED": FAILED})
REDIS = LineFormat(
    r"\[(?P<word>ok|err|skip|ignore)\]:\s(?P<name>.+?)(?:\s\(\d+\s*m?s\))?$",
    {"ok": PASSED, "err": FAILED, "skip": SKIPPED, "ignore": SKIPPED},
    cut=r"\s+in\s+\S+$",
)
JQ = LineFormat(r"(?P<word>PASS|FAIL):\s(?P<name>.+)$", {"PASS": PASSED, "FAIL": FAILED})
MICROPYTHON = LineFormat(r"(?P<word>pass|FAIL|skip)\s+(?P<name>.+)$", {"pass": PASSED, "FAIL": FAILED, "skip": SKIPPED})
GOOGLETEST = LineFormat(r".*\[\s*(?P<word>OK|FAILED)\s*\]\s(?P<name>.*)\s\(.*\)$", {"OK": PASSED, "FAILED": FAILED})
ANT = LineFormat(
    r"\[junit\]\s+\[(?P<word>PASS|FAIL|ERR)\]\s+(?P<name>.*)$", {"PASS": PASSED, "FAIL": FAILED, "ERR": FAILED}
)
MINITEST = LineFormat(r"(?P<name>.+)\. .*=.*(?P<word>\.|F|E).*$", {".": PASSED, "F": FAILED, "E": FAILED})
CUCUMBER = LineFormat(r"(?P<name>.*) \.+(?P<word>\.|F)", {".": PASSED, "F": FAILED})
RUBY_UNIT = LineFormat(
    r"(?:test: )?(?P<name>.+):\s+(?P<word>\.|E\b|F\b|O\b)", {".": PASSED, "E": FAILED, "F": FAILED, "O": SKIPPED}
)
RSPEC = LineFormat(r"(?P<name>.+) - (?P<word>passed|failed)", {"passed": PASSED, "failed": FAILED})
TAP = LineFormat(r"(?P<word>ok|not ok) \d+ (?P<name>.+)$", {"ok": PASSED, "not ok": FAILED})
JEST_JSON = LineFormat(r"\[(?P<word>PASSED|FAILED)\]\s(?P<name>.+)$", {"PASSED": PASSED, "FAILED": FAILED})
VITEST = LineFormat(
    r"(?P<word>✓|×|↓)\s(?P<name>.+?)(?:\s(?:\d+\s*m?s?|\[skipped\]))?$", {"✓": PASSED, "×": FAILED, "↓": SKIPPED}
)
JEST = LineFormat(
    r"(?P<word>✓|✕|○)\s(?P<name>.+?)(?:\s\(\d+\s*m?s\))?$",
    {"✓": PASSED, "✕": FAILED, "○": SKIPPED},
    strip=True,
)
"""Jest with ``--verbose``."""


def parse_jekyll(log: str, instance_id: str) -> Statuses:
    """Jekyll changed its runner."""
    number = instance_id.split("-")[1:2]
    if number in (["9141"], ["8047"], ["8167"]):
        return MINITEST(log)
    if number in (["8761"], ["8771"]):
        return CUCUMBER(log)
    raise TaskError(f"parse_log_jekyll does not know the instance {instance_id!r}")


def parse_immutable(log: str, instance_id: str) -> Statuses:
    """Immutable.js changed what its runner prints."""
    number = instance_id.split("-")[-1]
    if number == "2006":
        return JEST(log)
    if number == "2005":
        return JEST_JSON(log)
    raise TaskError(f"parse_log_immutable_js does not know the instance {instance_id!r}")


def parse_phpunit(log: str) -> Statuses:
    """PHPUnit with ``--testdox``: the tests of a suite stand, each with a mark, below its name."""
    words = {"✔": PASSED, "✘": FAILED, "↩": SKIPPED}
    found: Statuses = {}
    suite = None
    for line in log.split("\n"):
        if len(line) > LONGEST:
            continue
        if (heading := re.match(r"(\w.+) \(.+\)$", line)) is not None:
            suite = heading[1]
        elif (test := re.match(r"\s*([✔✘↩])\s*(.*)$", line)) is not None:
            found[f"{suite} > {test[2]}"] = words[test[1]]
    return found
