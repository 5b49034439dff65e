"""What a verdict needs of a task, from a row in one of swebench's schemas or from what such a row was loaded into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgym.errors import TaskError
from stepgym.rewards.swe.parsers import parser_of

if TYPE_CHECKING:
    from stepgym.records import Task
    from stepgym.tasks.swe import Instance

EVAL_TYPES = {"pass_and_fail": False, "fail_only": True}
"""Whether a log tells failures alone, by the name that rows have for it."""

FAIL_ONLY_REPOSITORIES = frozenset(
    {
        *("chartjs/Chart.js", "processing/p5.js", "markedjs/marked", "bpmn-io/bpmn-js", "openlayers/openlayers"),
        "eslint/eslint",
    }
)
"""Repositories whose runners print failures alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A task, to its grader."""

    id: str
    version: str = ""
    log_parser: str
    fail_only: bool
    """Whether the log tells failures alone, so that a test that it does not name has passed."""
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    gold: str = ""
    """The patch of the task's author."""
    test_patch: str = ""
    eval_script: str = ""


def row_of(given: Mapping[str, Any] | Task | Instance) -> Row:
    """Read a task. Raises `TaskError` naming the field that is missing or broken."""
    if not isinstance(given, Mapping):
        return _row_of_task(given)
    repo = str(given.get("repo") or "")
    return Row(
        id=str(given.get("instance_id") or repo),
        version=str(given.get("version") or ""),
        log_parser=str(given.get("log_parser") or parser_of(repo)),
        fail_only=_fail_only(given, repo),
        fail_to_pass=_tests(given, "FAIL_TO_PASS"),
        pass_to_pass=_tests(given, "PASS_TO_PASS"),
        gold=str(given.get("patch") or ""),
        test_patch=str(given.get("test_patch") or ""),
        eval_script=str(given.get("eval_script") or ""),
    )


def _row_of_task(given: Task | Instance) -> Row:
    from stepgym.tasks.swe import Instance, instance_of  # rows do without it

    if isinstance(given, Instance):
        return _row_of_instance(given.repo, "", given)
    return _row_of_instance(given.id, given.answer, instance_of(given))


def _row_of_instance(id: str, gold: str, instance: Instance) -> Row:
    return Row(
        id=id,
        version=instance.version,
        log_parser=instance.log_parser or parser_of(instance.repo),
        fail_only=EVAL_TYPES[instance.eval_type],
        fail_to_pass=instance.fail_to_pass,
        pass_to_pass=instance.pass_to_pass,
        gold=gold,
        test_patch=instance.test_patch,
        eval_script=instance.eval_script,
    )


def _fail_only(given: Mapping[str, Any], repo: str) -> bool:
    named = given.get("eval_type")
    if not named:
        return repo in FAIL_ONLY_REPOSITORIES
    if named not in EVAL_TYPES:
        raise TaskError(f"{_name(given)}: eval_type is {named!r}, not {' or '.join(EVAL_TYPES)}")
    return EVAL_TYPES[named]


def _tests(given: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """A list of tests, which files also keep as the JSON of a list."""
    value = given.get(field)
    if isinstance(value, str):
        import json

        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list | tuple) or not all(isinstance(test, str) for test in value):
        raise TaskError(f"{_name(given)}: {field} is not a list of tests")
    return tuple(value)


def _name(given: Mapping[str, Any]) -> str:
    return f"row {given.get('instance_id') or 'without instance_id'}"
