"""Helped contexts: the same problem with a hint or with sub-questions in its prompt.

A helped task is the task with another prompt. Id, answer and all the rest stay, so the same verifier judges it and an
attempt at it can be matched with attempts at the plain problem; ``meta["helped"]`` says what help it shows.

A template is plain text with the placeholder ``{prompt}`` and that of the help, ``{hint}`` or ``{subquestions}``. They
are replaced in one pass and nothing else is touched: braces belong to LaTeX in templates, problems and help alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from stepgym.errors import ConfigError, TaskError
from stepgym.records import Task

HINT = "{prompt}\nHint: {hint}\n"
"""The problem with a hint (Guide, arXiv 2506.13923; the wording is not published)."""

SUBQUESTIONS = "{prompt}\nSub-questions:\n{subquestions}\n"
"""The problem with its sub-questions, numbered (A2D, arXiv 2602.00759, appendix 6; the wording is not published)."""

DIVERSITY = "{prompt}\nSolution:\n"
"""A2D's diversity prompt: the problem without help, worded otherwise than in RL, under which solutions found with help
are distilled (section 2.3; the wording is not published)."""


class Help(StrEnum):
    """What a helped task shows beside the problem."""

    HINT = "hint"
    """`Task.hint`."""
    SUBQUESTIONS = "subquestions"
    """`Task.subquestions`."""


TEMPLATES: Mapping[Help, str] = {Help.HINT: HINT, Help.SUBQUESTIONS: SUBQUESTIONS}
"""The template of each kind of help, unless another is given."""

COMMANDS: Mapping[Help, str] = {
    Help.HINT: "stepgym annotate hints TASKS --out FILE",
    Help.SUBQUESTIONS: "stepgym annotate subquestions TASKS --out FILE",
}
"""The command that writes each kind of help."""


def with_hint(task: Task, template: str = HINT) -> Task:
    """`task` with its hint in the prompt. Raises `TaskError` if it has none; `ConfigError` for an unfit template."""
    return with_help(task, Help.HINT, template)


def with_subquestions(task: Task, template: str = SUBQUESTIONS) -> Task:
    """`task` with its sub-questions in the prompt, one numbered line each. Raises as `with_hint` does."""
    return with_help(task, Help.SUBQUESTIONS, template)


def with_help(task: Task, kind: Help | str, template: str | None = None) -> Task:
    """`task` with the help of that kind in the prompt. Raises as `with_hint` does."""
    kind = help_kind(kind)
    check_help((task,), kind)
    shown = task.hint if kind is Help.HINT else numbered(task.subquestions)
    prompt = _filled(TEMPLATES[kind] if template is None else template, {"prompt": task.prompt, kind.value: shown})
    return replace(task, prompt=prompt, meta={**task.meta, "helped": kind.value})


def with_template(task: Task, template: str) -> Task:
    """`task` with its prompt set into ``{prompt}`` of a template. Raises `ConfigError` if the template has no such."""
    return replace(task, prompt=_filled(template, {"prompt": task.prompt}))


def check_help(tasks: Iterable[Task], kind: Help | str) -> None:
    """Raise `TaskError` for the first task without help of that kind, naming the command that writes it."""
    kind = help_kind(kind)
    for task in tasks:
        shown = (task.hint,) if kind is Help.HINT else task.subquestions
        if not any(map(str.strip, shown)):
            missing = "hint" if kind is Help.HINT else "sub-questions"
            raise TaskError(f"task {task.id!r} has no {missing}; make them with: {COMMANDS[kind]}")


def help_kind(name: str) -> Help:
    """The kind of help of that name. Raises `ConfigError` for any other."""
    if name not in list(Help):
        raise ConfigError(f"help must be one of {', '.join(Help)}, not {name!r}")
    return Help(name)


def numbered(lines: Iterable[str]) -> str:
    """``1. …``, ``2. …``: each on a line of its own."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def _filled(template: str, values: Mapping[str, str]) -> str:
    placeholders = {f"{{{name}}}": value for name, value in values.items()}
    for placeholder in placeholders:
        if placeholder not in template:
            raise ConfigError(f"the template {template!r:.80} lacks the placeholder {placeholder}")
    return re.sub("|".join(map(re.escape, placeholders)), lambda found: placeholders[found.group()], template)
