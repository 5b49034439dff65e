"""The marks that an evaluation leaves in its log, and what they say of it.

The script prints one mark before the tests and one after them; between those stands what the parsers read. It traces
its commands, and standard output comes through a buffer, so that other lines of the script may fall inside.
"""

from __future__ import annotations

import re

START = ">>>>> Start Test Output"
END = ">>>>> End Test Output"
APPLIED = ">>>>> Applied Patch"
APPLY_FAILED = ">>>>> Patch Apply Failed"
RESET_FAILED = ">>>>> Reset Failed"
TESTS_ERROR = ">>>>> Tests Errored"
TESTS_TIMEOUT = ">>>>> Tests Timed Out"
EXIT_CODE = ">>>>> Test Exit Code"
EXIT_CODE_VARIABLE = "SWEBENCH_TEST_EXIT_CODE"
"""Shell variable in which the script keeps the exit code of the tests, to print it after the mark of their end."""

BROKEN = (APPLY_FAILED, RESET_FAILED, TESTS_ERROR, TESTS_TIMEOUT)
"""Marks of evaluations that came to nothing: their logs are not read."""

LONGEST_CODE = 1000
"""Digits of an exit code that are read; Python refuses to read thousands."""
_EXIT_CODE = re.compile(re.escape(EXIT_CODE) + r":\s*(-?\d+)")

_SOME = r"(?<!\d)[^\D1-9]*+[1-9]\d*+"
"""A number above 0, which the matcher looks at once."""
_RAN = (
    rf"Executed [1-9]\d* of \d|TOTAL: [1-9]\d* (?:SUCCESS|FAILED)|{_SOME} passing|Tests:\s+[1-9]"
    rf"|Test Suites:\s+(?:\d+ \w+, )*[1-9]\d* total|^# tests [1-9]|{_SOME} specs?, \d++ failure|': ok$"
)


def text_of(log: str | bytes) -> str:
    """The log as text: UTF-8, with newlines of every kind read as a newline."""
    text = log.decode("utf-8", errors="replace") if isinstance(log, bytes) else log
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def broken_by(log: str) -> str:
    """The mark in the log that says its evaluation came to nothing, or the empty string."""
    return next((mark for mark in BROKEN if mark in log), "")


def test_phase(log: str) -> str | None:
    """What stands between the marks; None where one of them is missing."""
    start = log.find(START)
    if start < 0 or END not in log:
        return None
    start += len(START)
    again = log.find(START, start)
    until = len(log) if again < 0 else again
    end = log.find(END, start, until)
    return log[start : until if end < 0 else end]


def exit_codes(log: str) -> tuple[int, ...]:
    """The exit codes of the tests that the log tells, in order; an honest log tells one, printed and perhaps traced."""
    return tuple(int(code[:LONGEST_CODE]) for code in _EXIT_CODE.findall(log))


def suite_ran(log: str) -> bool:
    """Whether a runner that prints failures alone says that it ran at least one test."""
    return re.search(_RAN, log, re.MULTILINE) is not None  # few logs need it
