"""Runs of SWE-agent (``.traj``), with text commands or tools alike; SWE-smith's raw runs are of this form too.

Each entry of ``trajectory`` has the ``action`` that the environment was given and the ``observation`` it returned.
"""

from __future__ import annotations

import json
from typing import Any

from stepgym.errors import TaskError
from stepgym.tasks.chat import chat, first_asked
from stepgym.tasks.recorded import Round, Run, instance_id, outcome
from stepgym.tasks.rows import Row


def swe_agent(row: Row, /) -> Run:
    """The run in a ``.traj`` file. Raises `TaskError`."""
    problem = _problem(row.values.get("replay_config"))
    text, name = problem.get("text"), problem.get("id")
    return Run(
        id=name if isinstance(name, str) and name else instance_id(row),
        issue=text if isinstance(text, str) and text.strip() else first_asked(chat(row, "history")),
        rounds=tuple(turn for index, step in enumerate(row.values["trajectory"]) for turn in _round(row, index, step)),
        outcome=outcome(row),
    )


def _round(row: Row, index: int, step: Any) -> tuple[Round, ...]:
    where = f"{row.where}: trajectory[{index}]"
    if not isinstance(step, dict):
        raise TaskError(f"{where} must be an object with an action and an observation, not {type(step).__name__}")
    for key in ("action", "observation"):
        if not isinstance(step.get(key), str):
            raise TaskError(f"{where}: {key} must be text, not {type(step.get(key)).__name__}")
    command = step["action"].strip()
    return (Round(command, step["observation"]),) if command else ()  # an empty one: the agent was asked again


def _problem(replay: Any) -> dict[str, Any]:
    """The problem of a run that tells how to replay it; {} for others."""
    if isinstance(replay, str):
        try:
            replay = json.loads(replay)
        except (ValueError, RecursionError):
            return {}
    problem = replay.get("problem_statement") if isinstance(replay, dict) else None
    return problem if isinstance(problem, dict) else {}
