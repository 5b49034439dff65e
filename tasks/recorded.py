"""Recorded runs of software-engineering agents as tasks: the issue, and the expert's commands as its steps.

A step is what the environment consumed, a command or a call of a tool, without the words around it (SRL, arXiv
2510.25992, section 5.3). A reply from which no command could be taken is no step, and its rejection no observation.

Add a format: a file with a function of the shape of `Parser`, and a line in `FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.registry import Registry
from stepgym.tasks.chat import marked
from stepgym.tasks.expert_steps import OBSERVATIONS
from stepgym.tasks.rows import LONE_SURROGATE, Row

MOST_ROUNDS = 2_000
LONGEST_COMMAND = 131_072
"""Characters; a longer command is an error, for half of it would be another command."""
LONGEST_OBSERVATION = 16_384
"""Characters; the middle of a longer output is left out."""
LONGEST_ISSUE = 131_072
"""Characters; the rest is cut off."""
PUT_BY = (
    (re.compile(r"<pr_description>\s{0,9}(?:Consider the following PR description:)?"), "</pr_description>"),
    (re.compile(r"^ISSUE:\n", re.MULTILINE), "\nINSTRUCTIONS:"),
)
"""Between which marks the agents' own prompts put the issue."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of a run."""

    command: str
    observation: str = ""
    """What it printed, as the agent saw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A recorded run, whatever wrote it."""

    id: str
    """The instance's."""
    issue: str
    rounds: tuple[Round, ...]
    outcome: str = ""
    """How it ended, in the agent's words: ``submitted``."""


class Parser(Protocol):
    """Reads one format."""

    def __call__(self, row: Row, /) -> Run:
        """The run in a row. Raises `TaskError` with the place of what is not as it should be."""


FORMATS: Registry[Run] = Registry(
    "recorded-run format",
    {
        "mini-swe-agent": "stepgym.tasks.mini_swe_agent:mini_swe_agent",
        "swe-agent": "stepgym.tasks.swe_agent:swe_agent",
        "swe-smith-xml": "stepgym.tasks.swe_smith:swe_smith",
    },
)
"""Each entry is a `Parser`."""


def format_of(values: Mapping[str, Any]) -> str:
    """The format of the run that a row holds; "" if it holds none."""
    if str(values.get("trajectory_format", "")).startswith("mini-swe-agent"):
        return "mini-swe-agent"
    if isinstance(values.get("trajectory"), list) and isinstance(values.get("history"), list):
        return "swe-agent"
    return "swe-smith-xml" if values.keys() >= {"messages", "instance_id"} else ""


def run_task(row: Row) -> Task:
    """The task of a row that holds a run: `Task.meta` has its format, its outcome and its observations.

    Raises `TaskError`. The task has no gold answer: what a command is worth is known by its likeness to the expert's.
    """
    name = format_of(row.values)
    parse: Parser = FORMATS.load(name)
    run = parse(row)
    if not run.rounds:
        raise TaskError(f"{row.where}: no command in this run ({name})")
    if len(run.rounds) > MOST_ROUNDS:
        raise TaskError(f"{row.where}: {len(run.rounds)} commands, at most {MOST_ROUNDS} are read")
    for number, turn in enumerate(run.rounds, start=1):
        if len(turn.command) > LONGEST_COMMAND:
            raise TaskError(
                f"{row.where}: command {number} has {len(turn.command)} characters, at most {LONGEST_COMMAND} are read"
            )
    meta: dict[str, Any] = {
        "answerless": True,
        "format": name,
        "outcome": run.outcome,
        OBSERVATIONS: [_shortened(_unix(turn.observation)) for turn in run.rounds],
    }
    issue, steps = _issue(run.issue, row), tuple(turn.command for turn in run.rounds)
    if any(LONE_SURROGATE.search(text) for text in (run.id, run.outcome, issue, *steps, *meta[OBSERVATIONS])):
        raise TaskError(f"{row.where}: not text (half of a surrogate pair)")  # JSON within JSON may bring some
    return Task(id=run.id, prompt=issue, steps=steps, meta=meta)


def instance_id(row: Row) -> str:
    """What the row calls the instance, else the file's name, which agents give after the instance."""
    name = row.values.get("instance_id")
    if isinstance(name, str) and name:
        return name
    return Path(row.where).name.removesuffix(".json").removesuffix(".traj")


def outcome(row: Row) -> str:
    """How the run ended, in the agent's words; "" if it does not say."""
    info = row.values.get("info")
    status = info.get("exit_status") if isinstance(info, dict) else None
    return status if isinstance(status, str) else ""


def _issue(text: str, row: Row) -> str:
    """The issue in the words that put it to the agent: all of them, if it is not marked."""
    found = next((issue for opening, closing in PUT_BY for issue in marked(text, opening, closing)), text)
    issue = _unix(found).strip()[:LONGEST_ISSUE]
    if not issue:
        raise TaskError(f"{row.where}: the issue is empty")
    return issue


def _unix(text: str) -> str:
    """`text` with plain line ends; a terminal's have a carriage return before them."""
    return text.replace("\r\n", "\n")


def _shortened(text: str) -> str:
    """`text`, with its middle left out if it is longer than `LONGEST_OBSERVATION`."""
    if len(text) <= LONGEST_OBSERVATION:
        return text
    half = LONGEST_OBSERVATION // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
