"""Rows of software-engineering benchmarks as tasks: SWE-bench's 2024 schema, swebench 5, SWE-Gym, SWE-smith.

What a row does not say is derived as its benchmark does (`stepgym.tasks.swe_scripts`). A row that contradicts itself is
refused: it could only be graded wrongly.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.tasks.rows import LONE_SURROGATE, Row
from stepgym.tasks.swe import EvalType, Instance, swe_task
from stepgym.tasks.swe_patch import is_test
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_patch_reversal import reverse
from stepgym.tasks.swe_scripts import END, START, derived_script, image_name, parser_name

MARKS = ("FAIL_TO_PASS", "PASS_TO_PASS", "test_patch", "patch", "eval_script")
LONGEST_ID = 200
LONGEST_NAME = 8192
"""Characters of a test's name."""
MOST_TESTS = 100_000
KEPT = ("created_at", "difficulty", "subset", "split", "datasets", "dataset_name", "dockerfile")
"""Columns that `Task.meta` keeps beside the instance."""
_ID = re.compile(r"[A-Za-z0-9][\w.+@-]*", re.ASCII)


def is_instance(values: Mapping[str, Any]) -> bool:
    """Whether a row is one of these, be it a broken one."""
    nested = values.get("instance")
    row = nested if isinstance(nested, Mapping) else values
    return "instance_id" in row and any(mark in row for mark in MARKS)


def instance_task(row: Row) -> Task:
    """The task of a row. Raises `TaskError` with its place for what is missing, of the wrong kind, or contradictory."""
    nested = row.values.get("instance")
    values = {**row.values, **nested} if isinstance(nested, Mapping) else row.values
    read = _Reader(row.where, values)
    name = read.id()
    repo, version = read.text("repo", needed=True), read.text("version")
    smith = repo.startswith("swesmith/") or "swesmith" in read.text("image_name")
    gold = read.patch("patch", needed=True)
    bug = ""
    if smith:
        bug, gold = gold, read.reversed("patch")
    test_patch = read.patch("test_patch", needed=not smith)
    fail, keep = read.tests("FAIL_TO_PASS"), read.tests("PASS_TO_PASS")
    _check(row.where, gold, fail, keep)
    base = read.text("base_commit") or "HEAD"
    if not re.fullmatch(r"[0-9a-f]{7,64}|HEAD", base):
        raise read.error(f"base_commit must be a commit's hash, not {base!r}")
    script = read.script(base) or derived_script(repo, version, base, test_patch, (*fail, *keep))
    instance = Instance(
        repo=repo,
        base_commit="" if base == "HEAD" else base,
        version=version,
        image=read.image() or image_name(repo, name),
        test_patch=test_patch,
        eval_script=script,
        log_parser=read.text("log_parser") or parser_name(repo),
        eval_type=read.eval_type(),
        fail_to_pass=fail,
        pass_to_pass=keep,
        base_patch=bug,
    )
    issue = read.text("problem_statement").replace("\r\n", "\n").strip() or asked(repo, fail)
    kept = {key: values[key] for key in KEPT if isinstance(values.get(key), str | list) and values[key]}
    return swe_task(name, issue, gold, instance, hint=read.text("hints_text"), **kept)


def asked(repo: str, failing: tuple[str, ...]) -> str:
    """The problem of a task without an issue: which tests ought to pass."""
    shown = "\n".join(f"- {name}" for name in failing[:20])
    more = f"\n- and {len(failing) - 20} more" if len(failing) > 20 else ""
    return f"These tests of {repo} fail. Change the code, and not the tests, so that they pass:\n\n{shown}{more}"


def _check(where: str, gold: str, fail: tuple[str, ...], keep: tuple[str, ...]) -> None:
    if not fail:
        raise TaskError(f"{where}: FAIL_TO_PASS is empty, so that nothing tells whether the issue is solved")
    if both := sorted(set(fail) & set(keep)):
        raise TaskError(f"{where}: {both[0]!r} is in FAIL_TO_PASS and in PASS_TO_PASS ({len(both)} such in all)")
    paths = [change.path for change in changes(gold)]
    if all(map(is_test, paths)):
        raise TaskError(f"{where}: the gold patch touches only tests ({', '.join(paths[:3])}), which are replaced")


class _Reader:
    """The columns of one row."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where, self.values = where, values

    def error(self, what: str) -> TaskError:
        return TaskError(f"{self.where}: {what}")

    def text(self, key: str, *, needed: bool = False) -> str:
        value = self.values.get(key)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{key} must be text, not {type(value).__name__}" if value is not None else f"no {key}")
        if needed and not value.strip():
            raise self.error(f"{key} is empty")
        if LONE_SURROGATE.search(value):
            raise self.error(f"{key} is not text (half of a surrogate pair)")
        return value

    def id(self) -> str:
        name = self.text("instance_id", needed=True)
        if len(name) > LONGEST_ID or not _ID.fullmatch(name):  # files and folders are named after it
            raise self.error(f"instance_id must be of letters, digits and . _ - + @, not {name[:80]!r}")
        return name

    def patch(self, key: str, *, needed: bool) -> str:
        patch = self.text(key, needed=needed)
        if not patch.strip():
            return ""
        try:
            changes(patch)
        except ValueError as error:
            raise self.error(f"{key} cannot be applied: {error}") from error
        return patch if patch.endswith("\n") else patch + "\n"

    def reversed(self, key: str) -> str:
        try:
            return reverse(self.text(key))
        except ValueError as error:
            raise self.error(f"{key}: {error}") from error

    def tests(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = None
        if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
            said = "is missing" if key not in self.values else f"is {type(self.values[key]).__name__}"
            raise self.error(f"{key} must be a list of tests' names, or one as JSON, but {said}")
        if len(value) > MOST_TESTS or any(len(name) > LONGEST_NAME for name in value):
            raise self.error(
                f"{key} has more than {MOST_TESTS} tests, or a name of more than {LONGEST_NAME} characters"
            )
        return tuple(value)

    def image(self) -> str:
        """The image that the row names. A row with a script needs one, as swebench 5 does."""
        image = self.text("image") or self.text("image_name") or self.text("docker_image")
        if not image and self.text("eval_script"):
            raise self.error("no image, though it has an eval_script; name the one that the script runs in")
        if image.startswith("swesmith."):  # SWE-smith's rows leave out where it is published
            return f"swebench/{image.replace('__', '_1776_')}".lower()
        return image

    def eval_type(self) -> EvalType:
        said = self.text("eval_type") or EvalType.PASS_AND_FAIL
        if said not in list(EvalType):
            raise self.error(f"eval_type is {' or '.join(EvalType)}, not {said!r}")
        return EvalType(said)

    def script(self, base: str) -> str:
        """The row's own script; that of SWE-Gym comes in parts, and without marks."""
        script = self.text("eval_script")
        if script:
            missing = [mark for mark in (START, END) if mark not in script]
            if missing:
                raise self.error(f"eval_script never prints {missing[0]!r}, so that its log cannot be read")
            return script
        setup, tests = self.text("setup_script").rstrip("\n"), self.text("test_script").strip().split("\n")
        if not setup or not tests[-1].strip():
            return ""
        first, _, rest = setup.partition("\n")
        shown = [first, "set -uxo pipefail", rest] if first.startswith("#!") else ["#!/bin/bash", setup]
        test_patch = self.text("test_patch")
        files = shlex.join(change.before for change in changes(test_patch) if change.before) if test_patch else ""
        back = [f"git checkout {base} -- {files}"] if files else []
        return "\n".join([*shown, f": '{START}'", tests[-1], f": '{END}'", *back]) + "\n"
