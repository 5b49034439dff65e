"""The commands `stepgym validate`, `rollout`, `eval math` and `view`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from stepgym.codec import encode
from stepgym.errors import PolicyError, TaskError
from stepgym.evals.maths import MathEval, evaluate_math, math_folder
from stepgym.evals.report import format_report
from stepgym.evals.rescoring import rescore_math
from stepgym.evals.rollouts import Rollout, play_rollouts, rollout_folder
from stepgym.evals.run_folder import RunFolder
from stepgym.evals.validation import validate_tasks
from stepgym.evals.viewing import find_trajectory, text_of, write_page
from stepgym.progress import Progress
from stepgym.records import Stop, Usage
from stepgym.rewards import REWARDS


def eval_math(config: MathEval) -> None:
    """Measure a model's accuracy on mathematical problems; resumes, and grades again with --rescore."""
    folder = math_folder(config)
    with _resumable(folder):
        report = rescore_math(folder.path, grader=config.grader) if config.rescore else evaluate_math(config)
    print(json.dumps(encode(report), ensure_ascii=False) if config.json else format_report(report))
    _name(folder.report, machine=config.json)
    if report.failed:
        _, example = next((p, line) for p, line in folder.read().items() if line.trajectory.stop is Stop.ERROR)
        raise PolicyError(
            f"{report.failed} of {report.failed + report.graded + report.ungraded} samples failed, such as "
            f"{example.trajectory.task.id} ({example.trajectory.error}); the same command tries them again"
        )


def rollout(config: Rollout) -> None:
    """Play episodes of an environment and store their trajectories; resumes."""
    with _resumable(rollout_folder(config)):
        folder = play_rollouts(config)
    played = [line.trajectory for line in folder.read().values()]
    rewards = [trajectory.reward for trajectory in played if trajectory.graded]
    failed = sum(trajectory.stop is Stop.ERROR for trajectory in played)
    usage = sum((trajectory.usage for trajectory in played), Usage())
    print(f"{len(played)} episodes of {config.env}, {len(rewards)} graded, {failed} failed")
    if rewards:
        print(f"mean reward {sum(rewards) / len(rewards):.4f}, {usage.completion_tokens:,} tokens written")
    print(folder.trajectories)
    if failed:
        error = next(trajectory.error for trajectory in played if trajectory.stop is Stop.ERROR)
        raise PolicyError(f"{failed} episodes failed, the first with {error}; the same command tries them again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate:
    """Settings of a validation."""

    tasks: Positional[str]
    """A task set's name, a family with its settings, or a file; see `stepgym tasks list`."""
    grader: str = "math"
    """The reward whose verdicts are checked."""
    limit: int | None = None
    """Only the first so many tasks."""
    json: bool = False
    """Print the flaws as JSON lines."""


def validate(config: Validate) -> None:
    """Check that a verifier accepts every gold answer of a task set, and rejects a wrong one."""
    from stepgym.tasks import load

    tasks = load(config.tasks, limit=config.limit)
    reward = REWARDS.make(config.grader)
    flaws = []
    with Progress(f"validate {config.tasks}", len(tasks)) as progress:
        for found in validate_tasks(tasks, reward):
            flaws += found
            progress.advance(f"flaws: {len(flaws)}" if flaws else "")
    for flaw in flaws:
        line = json.dumps(encode(flaw), ensure_ascii=False)
        print(line if config.json else f"{flaw.task}: {flaw.kind}: {flaw.answer[:200]!r} ({flaw.why})")
    if flaws:
        rows = len({flaw.task for flaw in flaws})
        raise TaskError(f"{rows} of {len(tasks)} tasks of {config.tasks} fail with the grader {config.grader!r}")
    judged = sum(bool(task.answer) for task in tasks)
    skipped = f"; {len(tasks) - judged} have no answer" if judged < len(tasks) else ""
    if not config.json:
        print(f"{judged} gold answers accepted, {judged} wrong ones rejected by {config.grader!r}{skipped}")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Settings of the viewer."""

    run: Positional[Path]
    """Folder of a run, or a trajectory file."""
    task: str | None = None
    """Print this task's trajectory as plain text instead of making a page."""
    sample: int = 0
    """Which of the task's samples to print."""
    limit: int = 500
    """Most trajectories on the page."""
    out: Path | None = None
    """The page; view.html in the folder if not given."""


def view(config: View) -> None:
    """Make a self-contained HTML page of a run, or print one trajectory of it."""
    if config.task is not None:
        print(text_of(find_trajectory(config.run, config.task, config.sample)))
        return
    print(write_page(config.run, config.out, limit=config.limit))


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if folder.trajectories.exists():
            print(f"\n{folder.path} keeps what is finished; the same command goes on from there", file=sys.stderr)
        raise


def _name(path: Path, *, machine: bool) -> None:
    """The path of what was made comes last; beside machine-readable output it goes to stderr."""
    print(path, file=sys.stderr if machine else sys.stdout)
