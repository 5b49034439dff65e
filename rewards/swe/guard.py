"""What in a patch steers the tests rather than solving the task, and the patch without it.

Files that decide how tests are found, run and reported are not part of a solution, and neither are the tests. The gold
patch is trusted: what it changes may be changed in the same way, and where a patch changes such a file differently, the
gold patch's version of that file takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from sys import stdlib_module_names

from stepgym.rewards.swe.findings import REMOVABLE, Finding, Kind
from stepgym.rewards.swe.marks import END, START
from stepgym.tasks.swe_patch import Change, Diff, FilePatch, is_test
from stepgym.tasks.swe_patch_reading import parse_diff

STEERING = (
    *("conftest.py", "sitecustomize.py", "usercustomize.py", "*.pth", "*.egg-link"),
    *("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "setup.py", "pyproject.toml", "noxfile.py", ".coveragerc"),
    *(".env", ".envrc", ".profile", ".bashrc", ".bash_profile", ".python-version", "pyvenv.cfg", ".pdbrc"),
    *("entry_points.txt", "*.pyc", "*.so", "*.pyd"),
)
"""Names of files that a test run reads by itself: settings, plugins, what Python runs when it starts, compiled code."""
STEERING_FOLDERS = ("*.egg-info", "*.dist-info", "__pycache__", ".pytest_cache", ".tox", "site-packages")
RUNNERS = frozenset({"pytest", "_pytest", "py", "pluggy", "iniconfig", "xdist", "coverage", "nose", "hypothesis"})
"""Modules of test runners; a module of that name at the root of a repository takes their place."""

TEST_MODULES = ("tests.py", "test.py")

_TAMPERING = re.compile(
    r"\bos\s*\.\s*_exit\b|\b_pytest\b|\bpluggy\b|\bpytest_[a-z_]+|\bPYTEST_[A-Z_]+|\bSWEBENCH_\w+"
    r"|\b(?:import|from)\s+pytest\b|['\"]_?pytest['\"]\s+(?:not\s+)?in\s+sys\.modules"
    r"|\bunittest\.(?:case|result|runner|main)\b"
    r"|\bTestCase\.\w+\s*=|\bgc\.get_(?:objects|referrers)\b|/proc/self\b|>>>>> \w+|\b(?:PASSED|XFAIL)\s+\S+::"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedPatch:
    """A patch that can be applied before the hidden tests run."""

    text: str
    """The patch without the files that steer the tests."""
    removed: tuple[str, ...] = ()
    """Paths whose changes were taken out, or replaced by the gold patch's."""
    findings: tuple[Finding, ...] = ()
    flaws: tuple[str, ...] = ()
    """Why the patch cannot be applied, a sentence each."""


def guard_patch(patch: str, *, gold: str = "", test_patch: str = "", eval_script: str = "") -> GuardedPatch:
    """Take out of `patch` what steers the tests, given the task's gold patch, its hidden tests and its script."""
    given, trusted = parse_diff(patch), parse_diff(gold)
    findings = tuple(_findings(given, trusted, set(parse_diff(test_patch).paths), eval_script))
    removed = tuple(dict.fromkeys(finding.path for finding in findings if finding.kind in REMOVABLE))
    kept = given.without(removed)
    instead = trusted.only([path for path in removed if path in trusted.paths])
    text = replace(kept, ended=True).text + instead.text if instead.files else kept.text
    return GuardedPatch(text=text, removed=removed, findings=findings, flaws=given.flaws)


def inspect_patch(patch: str, *, gold: str = "", test_patch: str = "", eval_script: str = "") -> tuple[Finding, ...]:
    """The findings of `guard_patch` alone."""
    return guard_patch(patch, gold=gold, test_patch=test_patch, eval_script=eval_script).findings


def _findings(given: Diff, trusted: Diff, hidden: set[str], eval_script: str) -> Iterator[Finding]:
    known = {file.body for file in trusted.files}
    gold_paths = set(trusted.paths)
    run_by_name = _words_of_tests(eval_script)
    for file in given.files:
        if file.unsafe or (file.binary and file.body not in known):
            yield Finding(Kind.UNSAFE, f"{file.path}: {file.unsafe or 'a binary change'}", file.path)
        elif file.body not in known:
            for path in file.paths:
                if (finding := _finding(file, path, hidden, gold_paths, run_by_name)) is not None:
                    yield finding
            yield from _code(file, trusted)


def _finding(file: FilePatch, path: str, hidden: set[str], gold: set[str], run_by_name: set[str]) -> Finding | None:
    if path in hidden:
        return Finding(Kind.TEST, f"{path}: {file.change} a file of the hidden tests", path)
    if (why := steers(path)) != "":
        return Finding(Kind.STEERING, f"{path}: {file.change} {why}", path)
    if file.change is not Change.MODIFIED and (why := _shadows(path)) != "":
        return Finding(Kind.STEERING, f"{path}: {file.change} {why}", path)
    if path in run_by_name and path not in gold:
        return Finding(Kind.STEERING, f"{path}: {file.change} a file that the evaluation runs", path)
    if path not in gold and _of_tests(path):
        return Finding(Kind.OTHER_TEST, f"{path}: {file.change} a file of tests", path)
    return None


def steers(path: str) -> str:
    """What a file is to test runs by its name, or nothing."""
    *folders, name = path.split("/")
    if any(fnmatchcase(name, pattern) for pattern in STEERING):
        return "a file that steers test runs"
    if any(fnmatchcase(folder, pattern) for folder in folders for pattern in STEERING_FOLDERS):
        return "a file in a folder that steers test runs"
    return ""


def _of_tests(path: str) -> bool:
    """Whether a file belongs to tests, also as the one module that an application has for them."""
    return is_test(path) or path.rpartition("/")[2] in TEST_MODULES


def _shadows(path: str) -> str:
    """Whether a file at the root of imports is a module that test runs import from elsewhere."""
    parts = path.removeprefix("src/").removeprefix("lib/").split("/")
    module = parts[0].removesuffix(".py") if len(parts) == 1 else parts[0] if parts[1:] == ["__init__.py"] else ""
    if path.endswith(".py") and (module in stdlib_module_names or module in RUNNERS):
        return f"a module in the place of {module!r}"
    return ""


def _words_of_tests(eval_script: str) -> set[str]:
    """The words of the commands between the marks of an evaluation's script: among them the runner, if it is a file."""
    _, _, rest = eval_script.partition(START)
    return {word.removeprefix("./").strip("'\"") for word in rest.partition(END)[0].split()}


def _code(file: FilePatch, trusted: Diff) -> Iterator[Finding]:
    """Names of test runners, and of ways around them, that added lines have and neither old lines nor gold do."""
    if file.binary or _of_tests(file.path):
        return
    found = {match[0] for line in file.lines("+") for match in _TAMPERING.finditer(line)}
    if found:
        around = "\n".join([*file.lines(" "), *file.lines("-"), trusted.text])
        for word in sorted(found):
            if word not in around:
                yield Finding(Kind.CODE, f"{file.path}: code that names {word!r}", file.path)
