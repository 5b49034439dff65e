"""Whether a log describes a test run that came to its end.

A run ends with a count by its runner, and lists each test once, where runners list them. Code under test can print
anything before that, also lines that look like results, and can end the process before the runner says its part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from stepgym.rewards.swe.findings import Finding, Kind
from stepgym.rewards.swe.marks import END, EXIT_CODE_VARIABLE, START, exit_codes
from stepgym.rewards.swe.parsers import PARSERS
from stepgym.rewards.swe.statuses import ERROR, FAILED, PASSED, PASSING, XFAIL

_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_SUMMARY = re.compile(
    r"=*[ ]?(?P<counts>no tests ran|\d{1,9} [a-z ]+(?:, \d{1,9} [a-z ]+)*) in \d[\d.]* ?s(?:econds)?"
    r"(?: \([\d:]+\))?[ ]?=*$",
    re.MULTILINE,
)
_PASSED_COUNT = re.compile(r"\b(\d{1,9}) (?:passed|xfailed)\b")
_LIST = re.compile(r"=+ short test summary info =+$", re.MULTILINE)
_COLLECTED = re.compile(r"\ncollected (\d{1,9}) items?\b")
_UNITTEST = re.compile(r"Ran (\d{1,9}) tests? in [\d.]+s\n+(?:OK|FAILED)\b")
_SYMPY = re.compile(r"[= ]*tests finished: (?:(\d{1,9}) passed)?")


def inspect_log(
    log: str, phase: str | None, parser: str, statuses: Mapping[str, str], expected: set[str], eval_script: str = ""
) -> Iterator[Finding]:
    """What in a log an honest run would not have printed.

    `phase` is what stands between its marks, `statuses` what `parser` read there, `expected` the tests that the verdict
    rests on, and `eval_script` the script, where it is known.
    """
    for mark, name in ((START, "start"), (END, "end")):
        if (times := log.count(mark)) > 1:
            yield _finding(f"the mark of the tests' {name} is printed {times} times")
    if phase is None:
        if START in log:
            yield _finding("the log ends within the tests")
        return
    yield from _exit_codes(log, statuses)
    if statuses and (inspect := _RUNNERS.get(PARSERS[parser])) is not None:
        passing = {test for test in expected if statuses.get(test) in PASSING}
        if _commands(eval_script) <= 1:
            yield from inspect(_COLOURS.sub("", phase) if "\x1b" in phase else phase, passing)


def _finding(why: str) -> Finding:
    return Finding(Kind.LOG, why)


def _exit_codes(log: str, statuses: Mapping[str, str]) -> Iterator[Finding]:
    codes = set(exit_codes(log))
    if len(codes) > 1:
        yield _finding(f"the log tells {len(codes)} exit codes of the tests")
    if codes - {0} and statuses and not {FAILED, ERROR} & set(statuses.values()):
        yield _finding(f"the tests exited with {max(codes, key=abs)}, though none has failed")


def _commands(eval_script: str) -> int:
    """How many commands stand between the marks of a script."""
    lines = eval_script.partition(START)[2].partition(END)[0].split("\n")[1:-1]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith((EXIT_CODE_VARIABLE, "#", ":")))


def _inspect_pytest(phase: str, passing: set[str]) -> Iterator[Finding]:
    summary = _last(_SUMMARY, " in ", phase, len(phase))
    if summary is None:
        yield _finding("pytest printed no count: the run ended early")
        return
    counted = sum(int(number) for number in _PASSED_COUNT.findall(summary["counts"]))
    heading = _last(_LIST, " short test summary info ", phase, summary.start())
    lines = phase[heading.end() : summary.start()].split("\n") if heading is not None else []
    passed = {line.partition(" ")[2].strip() for line in lines if line.startswith((PASSED + " ", XFAIL + " "))}
    if max(len(passed), len(passing)) > counted:
        yield _finding(f"{max(len(passed), len(passing))} tests are said to have passed, and pytest counted {counted}")
    if (collected := _COLLECTED.search(phase)) is not None and len(passed) > int(collected[1]):
        yield _finding(f"{len(passed)} tests are listed as passed, and pytest collected {collected[1]}")
    for line in lines:
        if line.startswith(FAILED + " ") and (test := line.removeprefix(FAILED).partition(" - ")[0].strip()) in passed:
            yield _finding(f"{test} is listed as passed and as failed")
    names = {test.partition(" ")[0] for test in passed}
    for test in sorted(passing - names) if names else ():
        if "[" not in test:  # else the parser may have changed its name
            yield _finding(f"{test} is said to have passed outside of pytest's list")


def _last(pattern: re.Pattern[str], word: str, text: str, end: int) -> re.Match[str] | None:
    """The last line before `end` that begins with `pattern`, which has `word` in it; the fewest lines are looked at."""
    at = text.rfind(word, 0, end)
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        if (match := pattern.match(text, start)) is not None:
            return match
        at = text.rfind(word, 0, start)
    return None


def _inspect_counted(pattern: re.Pattern[str], word: str, runner: str) -> Callable[[str, set[str]], Iterator[Finding]]:
    def inspect(phase: str, passing: set[str]) -> Iterator[Finding]:
        summary = _last(pattern, word, phase, len(phase))
        if summary is None:
            yield _finding(f"{runner} printed no count: the run ended early")
        elif len(passing) > int(summary[1] or 0):
            yield _finding(f"{len(passing)} tests are said to have passed, and {runner} counted {summary[1] or 0}")

    return inspect


_RUNNERS: dict[str, Callable[[str, set[str]], Iterator[Finding]]] = {
    **{path: _inspect_pytest for path in PARSERS.values() if ".logs_pytest:" in path},
    PARSERS["parse_log_django"]: _inspect_counted(_UNITTEST, "Ran ", "unittest"),
    PARSERS["parse_log_sympy"]: _inspect_counted(_SYMPY, "tests finished: ", "SymPy's runner"),
}
"""What to look at in the log of a runner, by the path of its parser."""
