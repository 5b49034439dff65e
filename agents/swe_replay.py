"""Executing replay: a recorded run's commands in a sandbox, their exit codes compared with those recorded.

SRL's step-level training (arXiv 2510.25992, section 5.3) takes a recording at its word. This says how far the sandbox
at hand behaves as the one in which the run was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepgym.agents.swe_scripted import as_action
from stepgym.envs.swe_actions import SUBMIT, Edit, Shell, Submission, as_call, parse_action
from stepgym.envs.swe_editor import run_edit
from stepgym.envs.swe_shown import KEPT_BYTES
from stepgym.errors import TaskError
from stepgym.records import Task, Trajectory
from stepgym.rewards.swe.repository import prepare, spec_for
from stepgym.sandboxes import Sandbox, Spec, make
from stepgym.tasks.expert_steps import OBSERVATIONS
from stepgym.tasks.swe import KEY, instance_of

_CODE = re.compile(r"\s{0,9}<returncode>(-?\d{1,9})</returncode>")
_FROM_RUN = (OBSERVATIONS, "format", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedStep:
    """One step, twice."""

    index: int
    """Its position in `Task.steps`."""
    command: str
    recorded: int | None
    """The exit code in the recording; None where it tells none, as for a submission."""
    replayed: int
    """The exit code here."""
    output: str
    """What it printed here."""

    @property
    def equal(self) -> bool:
        """Whether there are two codes, and they are one."""
        return self.recorded == self.replayed


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What came of a replay."""

    steps: tuple[ReplayedStep, ...]
    """Those that were run: all up to the submission."""

    @property
    def comparable(self) -> int:
        """Steps whose recording tells an exit code."""
        return sum(step.recorded is not None for step in self.steps)

    @property
    def equal(self) -> int:
        """Steps with the same exit code here."""
        return sum(step.equal for step in self.steps)

    @property
    def first_difference(self) -> ReplayedStep | None:
        """The first comparable step with another exit code here, if there is one."""
        return next((step for step in self.steps if step.recorded is not None and not step.equal), None)


def replay(task: Task, sandbox: Sandbox | str = "namespace", *, timeout: float = 60.0) -> ReplayReport:
    """Run the recorded steps of a task, one after the other, in a started sandbox or in one of that back end.

    A sandbox that is given holds what the run began with; for another, the task names its repository (`with_run`).
    A command may take `timeout` seconds. Raises `TaskError` for a task without a recording, or without a repository,
    and `SandboxError` where its image cannot be had.
    """
    if not task.steps:
        raise TaskError(f"task {task.id!r} has no recorded steps to replay")
    if not isinstance(sandbox, str):
        return ReplayReport(tuple(_replayed(task, sandbox, timeout)))
    if KEY not in task.meta:
        raise TaskError(f"task {task.id!r} is a run without its repository; with_run gives it that of a task")
    instance = instance_of(task)
    with make(sandbox, spec_for(instance, Spec())) as opened:
        prepare(opened, instance)
        return ReplayReport(tuple(_replayed(task, opened, timeout)))


def with_run(task: Task, run: Task) -> Task:
    """A software-engineering task with the steps of a recorded run at it, for replay and for `step_reward`."""
    found = {key: run.meta[key] for key in _FROM_RUN if key in run.meta}
    return replace(task, steps=run.steps, meta={**task.meta, **found})


def recording(trajectory: Trajectory) -> Task:
    """The task of an episode in ``stepgym/SWE-v0``, with what was done in it as its recorded run."""
    steps = tuple(step.reply.text for step in trajectory.steps)
    commands = tuple(_command(text) for text in steps)
    observations = [step.observation for step in trajectory.steps[1:]] + [""] * bool(steps)
    meta = {**trajectory.task.meta, OBSERVATIONS: observations, "outcome": trajectory.stop.value}
    return replace(trajectory.task, steps=commands, meta=meta)


def recorded_codes(task: Task) -> tuple[int | None, ...]:
    """The exit code that each step's recorded output tells; None where it tells none."""
    found: Sequence[str] = task.meta.get(OBSERVATIONS, [""] * len(task.steps))
    codes = [_CODE.match(observation) for observation in found]
    return tuple(int(code[1]) if code else None for code in codes)


def _replayed(task: Task, sandbox: Sandbox, timeout: float) -> list[ReplayedStep]:
    done: list[ReplayedStep] = []
    for index, (step, recorded) in enumerate(zip(task.steps, recorded_codes(task), strict=True)):
        action = parse_action(as_action(step))
        if isinstance(action, Shell):
            result = sandbox.exec(action.command, timeout=timeout, output_limit=KEPT_BYTES)
        elif isinstance(action, Edit):
            result = run_edit(sandbox, action)
        else:
            break
        done.append(
            ReplayedStep(index=index, command=step, recorded=recorded, replayed=result.exit_code, output=result.output)
        )
    return done


def _command(text: str) -> str:
    """The command or call of a reply without the words around it, as recordings have it."""
    action = parse_action(text)
    if isinstance(action, Submission):
        return SUBMIT
    if isinstance(action, Edit):
        return as_call(action)
    return action.command if isinstance(action, Shell) else text
