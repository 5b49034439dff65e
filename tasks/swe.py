"""What a software-engineering task is set up and graded by: a repository at a commit, hidden tests, and their verdicts.

It travels in `Task.meta` under `KEY`, where no environment shows it; the prompt is the issue's text and the answer the
gold patch. The fields are those of a row of swebench 5, which runs `eval_script` in `image`, reads its log with
`log_parser` and compares what passed with the two lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stepgym.codec import decode, encode
from stepgym.errors import TaskError
from stepgym.records import Task

KEY = "swe"
"""Where `Task.meta` holds an `Instance`."""
ENVIRONMENT = "/opt/testenv"
"""Where a sandbox sees the environment with `Instance.requirements`; ``bin/python`` in it runs the tests."""


class EvalType(StrEnum):
    """What a log tells (swebench 5, ``eval_type``)."""

    PASS_AND_FAIL = "pass_and_fail"
    """Each test that ran, with its status."""
    FAIL_ONLY = "fail_only"
    """Failures alone: a test that is not named has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Everything about a task but what the agent is told."""

    repo: str
    """``owner/name``, or the name of a package."""
    base_commit: str = ""
    version: str = ""
    image: str = ""
    """The container image in which the repository lies ready at `workdir`; empty where `source` is used."""
    source: str = ""
    """A folder, or a packed archive, with the files of the repository at its base; empty where `image` is used."""
    workdir: str = "/testbed"
    """Where the repository lies inside the sandbox."""
    test_patch: str = ""
    """The diff that adds the hidden tests."""
    eval_script: str = ""
    """The bash script that runs the hidden tests, and prints the marks between which their log stands."""
    log_parser: str = ""
    """Name of the parser of that log, as swebench has them: ``parse_log_pytest``."""
    eval_type: EvalType = EvalType.PASS_AND_FAIL
    fail_to_pass: tuple[str, ...] = ()
    """Tests that fail at the base and pass with the gold patch."""
    pass_to_pass: tuple[str, ...] = ()
    """Tests that pass at the base, and must go on passing."""
    base_patch: str = ""
    """A diff that makes the base of what `image` or `source` holds, before an agent sees it: SWE-smith's bugs."""
    requirements: tuple[str, ...] = ()
    """Python packages that the tests need, pinned, where there is no image: `stepgym.tasks.swe_python` makes of them an
    environment that a sandbox sees at `ENVIRONMENT`."""
    timeout: float = 1800.0
    """Seconds that `eval_script` may take."""


def instance_of(task: Task) -> Instance:
    """What a task is graded by. Raises `TaskError` for one that is not a software-engineering task, or is broken."""
    found = task.meta.get(KEY)
    if not isinstance(found, Mapping):
        raise TaskError(f"task {task.id!r} is not a software-engineering task: its meta has no {KEY!r}")
    return decode(Instance, dict(found), where=f"task {task.id!r}: {KEY}")


def swe_task(id: str, prompt: str, gold: str, instance: Instance, *, hint: str = "", **meta: Any) -> Task:
    """The task of an issue's text, a gold patch and what grades it; `meta` is kept beside."""
    return Task(id=id, prompt=prompt, answer=gold, hint=hint, meta={**meta, KEY: encode(instance)})
