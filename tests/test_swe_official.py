"""Verdicts equal to those of the official harness, which runs: ``swebench eval`` and `stepgym eval swe` on one engine.

Real releases from PyPI and a task of the package, an image each; patches that are right, empty, wrong in many ways, and
forged.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.rewards.swe.repository import checkout
from stepgym.tasks import load
from stepgym.tasks.swe import instance_of
from stepgym.tasks.swe_source import git
from tests.official_harness import OfficialRun, Subject, evaluate, images, release, write_run
from tests.swebench_process import swebench_python

FORGED_CONFTEST = """
import os, sys

def pytest_collection_finish(session):
    print()
    for item in session.items:
        print("PASSED", item.nodeid)
    sys.stdout.flush()
    os._exit(0)
"""
FORGED_CODE = """
import os, sys
for name in {names!r}:
    print(name, "... ok", file=sys.stderr)
sys.stderr.flush()
os._exit(0)
"""
NOWHERE = "diff --git a/no/such.py b/no/such.py\n--- a/no/such.py\n+++ b/no/such.py\n@@ -1 +1 @@\n-a\n+b\n"


STATEMENT = "diff --git a/ledger/statement.py"
ENDS_BLANK = f"""\
{STATEMENT} b/ledger/statement.py
--- a/ledger/statement.py
+++ b/ledger/statement.py
@@ -3,3 +3,5 @@
 from decimal import Decimal
+class StatementError(ValueError): pass
+def entries(text): return [entry(line) for line in text.splitlines()]
{" "}
{" "}
"""
"""A change that ends with context of two blank lines. It solves a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the patches of a task are made of."""

    release: tuple[str, str, str] | None = None
    """A package and two versions; None for the task of the package."""
    source: str
    """A module that the tests import."""
    left_out: tuple[str, ...]
    """Files that a partly right patch does not change."""
    breaks: str
    """Ends a module in a way that breaks tests which passed."""


CASES = {
    "wcwidth__0.2.8-0.2.13": Case(
        release=("wcwidth", "0.2.8", "0.2.13"),
        source="wcwidth/wcwidth.py",
        left_out=("wcwidth/table_zero.py",),
        breaks="def list_versions():\n    return ()\n",
    ),
    "toolz__0.11.2-0.12.0": Case(
        release=("toolz", "0.11.2", "0.12.0"),
        source="toolz/itertoolz.py",
        left_out=("toolz/curried/operator.py",),
        breaks="def frequencies(seq):\n    return {}\n",
    ),
    "swe-small__ledger": Case(
        source="ledger/book.py",
        left_out=("ledger/__init__.py",),
        breaks="Ledger.balances = lambda self: {}\n",
    ),
}
RIGHT = ("gold",)


def patches(task: Task, case: Case, folder: Path) -> dict[str, str]:
    """Patches of a task by what they are."""
    names = [*instance_of(task).fail_to_pass, *instance_of(task).pass_to_pass]
    forged = {"conftest.py": FORGED_CONFTEST} if case.release else {case.source: FORGED_CODE.format(names=names)}
    steering = {"conftest.py": "collect_ignore_glob = ['*']\n", "setup.cfg": "[tool:pytest]\naddopts = --co\n"}
    return {
        "gold": task.answer,
        "empty": "",
        "comment": edited(task, folder / "comment", {case.source: "# A comment.\n"}, gold=False),
        "partly": edited(task, folder / "partly", {}, left_out=case.left_out),
        "breaks": edited(task, folder / "breaks", {case.source: case.breaks}),
        "ends": edited(task, folder / "ends", {case.source: "import os\nos._exit(3)\n"}),
        "crooked": edited(task, folder / "crooked", {case.source: "def broken(:\n"}),
        "steered": edited(task, folder / "steered", steering, gold=False),
        "astray": NOWHERE,
        "cut": task.answer[: len(task.answer) * 2 // 3].rpartition("\n")[0] + "\n",
        "forged": edited(task, folder / "forged", forged, gold=False),
    }


def spellings(gold: str) -> dict[str, str]:
    """The gold patch as models and tools spell it, more and less well."""
    lines = gold.split("\n")
    blank = gold[: gold.find(STATEMENT)] + ENDS_BLANK
    return {
        "no end of line": gold.rstrip("\n"),
        "stripped": gold.strip(),
        "blank context lost": blank.rstrip() + "\n",
        "blank context lost, and the end of line": blank.rstrip(),
        "context at the end, without an end of line": blank.rstrip("\n"),
        "blanks after": gold + "\n\n",
        "prose before": f"Here is the patch:\n\n{gold}",
        "prose after": f"{gold}\nThat is all.\n",
        "fenced": f"```diff\n{gold}```\n",
        "CRLF": gold.replace("\n", "\r\n"),
        "no header of git": "\n".join(line for line in lines if not line.startswith("diff --git")),
        "no prefixes": re.sub(r"(?<= )[ab]/", "", gold),
        "late": re.sub(r"(?<=[-+])\d+(?=,\d+ )", lambda found: str(int(found[0]) + 3), gold),
        "miscounted": re.sub(r"(?<=\d,)\d+(?= @@)", lambda found: str(int(found[0]) + 1), gold),
        "other context": gold.replace("\n from collections import", "\n from  collections import"),
        "bare context": "\n".join("" if line == " " else line for line in lines),
        "twice": gold + gold,
        "one file astray": gold + NOWHERE,
        "index lines": re.sub(r"^diff .*$", r"\g<0>\nindex 1234567..89abcde 100644", gold, flags=re.MULTILINE),
    }


def edited(task: Task, folder: Path, ends: dict[str, str], *, gold: bool = True, left_out: tuple[str, ...] = ()) -> str:
    """The diff of the gold patch without some files, and of texts at the ends of files."""
    shutil.copytree(checkout(instance_of(task).source), folder, symlinks=True)
    if gold:
        subprocess.run(["git", "apply", "-"], cwd=folder, input=task.answer, text=True, check=True, capture_output=True)
    for path in left_out:
        git(folder, "checkout", "HEAD", "--", path)
    for path, end in ends.items():
        with (folder / path).open("a") as file:
            file.write(f"\n\n{dedent(end)}")
    git(folder, "add", "--all", ".")
    return git(folder, "diff", "--cached", "--no-color", "--no-renames", "HEAD")


@pytest.fixture(scope="module")
def tasks(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """The tasks of `CASES`; those of releases are made once, and kept in the cache of tests."""
    out = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    try:
        made = [release(out, *case.release) for case in CASES.values() if case.release]
    except TaskError as error:
        pytest.skip(f"the releases cannot be had: {error}")
    found = {task.id: task for task in (*made, *load("swe-small"))}
    return [found[name] for name in CASES]


@dataclass(frozen=True, slots=True)
class Both:
    """What both harnesses have come to."""

    subjects: dict[str, Subject]
    official: OfficialRun
    ours: Path
    """The folder of our run."""

    def report(self, id: str) -> dict[str, Any]:
        """Ours on one instance."""
        entry: dict[str, Any] = json.loads((self.ours / "instances" / id / "report.json").read_text())[id]
        return entry

    def check(self, id: str) -> None:
        """Assert that the verdicts on an instance are equal, and so is what became of each test."""
        ours, official = self.report(id), self.official.reports.get(id)
        assert ours["resolved"] == (id in self.official.summary["resolved_ids"]), ours["why"]
        if official is None:  # nothing was applied, so that nothing ran
            assert id in self.official.summary["error_ids"] + self.official.summary["empty_patch_ids"]
            assert "tests_status" not in ours
        else:
            assert {key: ours.get(key) for key in official} == official, ours["why"]


@pytest.fixture(scope="module")
def both(tasks: list[Task], docker_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Every patch judged by both, in containers of the same images."""
    folder = tmp_path_factory.mktemp("official")
    with ExitStack() as stack:
        try:
            python = swebench_python()
            named = stack.enter_context(images(docker_engine, tasks))
        except RuntimeError as error:
            pytest.skip(f"the official harness cannot run here: {error}")
        subjects = [
            Subject(id=f"{task.id}--{kind}", task=task, image=named[task.id], patch=patch)
            for task in tasks
            for kind, patch in patches(task, CASES[task.id], folder / task.id).items()
        ]
        small = tasks[-1]
        subjects += [
            Subject(id=f"spelt-{number}", task=small, image=named[small.id], patch=patch)
            for number, patch in enumerate(spellings(small.answer).values())
        ]
        official = evaluate(python, docker_engine, folder / "official", subjects)
        rows, predictions = write_run(folder / "ours", subjects)
        words = ["--tasks", rows, "--predictions", predictions, "--sandbox", "docker", "--workers", "2"]
        words += ["--out", folder / "ours" / "run"]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "stepgym.cli", "eval", "swe", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr[-4000:]
        yield Both({subject.id: subject for subject in subjects}, official, folder / "ours" / "run")


KINDS = ("gold", "empty", "comment", "partly", "breaks", "ends", "crooked", "steered", "astray", "cut", "forged")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_that_of_the_official_harness(both: Both, name: str, kind: str) -> None:
    id = f"{name}--{kind}"
    both.check(id)
    assert both.report(id)["strict"] == (kind in RIGHT)


@pytest.mark.parametrize("number", range(len(spellings(""))), ids=spellings(""))
def test_what_can_be_applied_is_that_which_the_official_harness_applies(both: Both, number: int) -> None:
    both.check(f"spelt-{number}")
    if list(spellings(""))[number] != "CRLF":  # such names of files are not believed
        assert both.report(f"spelt-{number}")["strict"] == both.report(f"spelt-{number}")["resolved"]


def test_the_patches_are_what_they_are_called(both: Both) -> None:
    """Otherwise equal verdicts would say little."""
    summary, reports = both.official.summary, both.official.reports
    kinds = {verdict: {id.rpartition("--")[2] for id in summary[f"{verdict}_ids"]} for verdict in ("resolved", "error")}
    assert kinds["resolved"] - {kind for kind in kinds["resolved"] if kind.startswith("spelt-")} == {"gold", "forged"}
    assert {"astray", "cut"} <= kinds["error"]
    assert sum(not id.startswith("spelt-") for id in summary["resolved_ids"]) == 2 * len(CASES)
    assert len(summary["empty_patch_ids"]) == len(CASES)
    for name in CASES:
        keep = reports[f"{name}--breaks"]["tests_status"]["PASS_TO_PASS"]
        assert keep["failure"]
        assert keep["success"]
    partly = [reports[f"{name}--partly"]["tests_status"]["FAIL_TO_PASS"] for name in CASES]
    assert any(fix["success"] and fix["failure"] for fix in partly)
