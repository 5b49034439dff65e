"""The commands `stepgym validate`, `rollout`, `eval math`, `eval swe` and `view`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from stepgym.codec import encode
from stepgym.errors import ConfigError, PolicyError, SandboxError, TaskError
from stepgym.evals.maths import MathEval, evaluate_math, math_folder
from stepgym.evals.report import format_report
from stepgym.evals.rescoring import rescore_math
from stepgym.evals.rollouts import Rollout, play_rollouts, rollout_folder
from stepgym.evals.run_folder import RunFolder
from stepgym.evals.swe import SWEEval, evaluate_swe, rescore_swe, swe_folder
from stepgym.evals.swe_report import format_swe_report
from stepgym.evals.validation import Flaw, Kind, validate_tasks
from stepgym.evals.viewing import find_trajectory, text_of, write_page
from stepgym.progress import Progress
from stepgym.records import Stop, Task, Usage
from stepgym.rewards import REWARDS
from stepgym.tasks.swe import KEY


def eval_math(config: MathEval) -> None:
    """Measure a model's accuracy on mathematical problems; resumes, and grades again with --rescore."""
    folder = math_folder(config)
    with resumable(folder):
        report = rescore_math(folder.path, grader=config.grader) if config.rescore else evaluate_math(config)
    print(json.dumps(encode(report), ensure_ascii=False) if config.json else format_report(report))
    name_result(folder.report, machine=config.json)
    if report.failed:
        _, example = next((p, line) for p, line in folder.read().items() if line.trajectory.stop is Stop.ERROR)
        raise PolicyError(
            f"{report.failed} of {report.failed + report.graded + report.ungraded} samples failed, such as "
            f"{example.trajectory.task.id} ({example.trajectory.error}); the same command tries them again"
        )


def eval_swe(config: SWEEval) -> None:
    """Measure how many software-engineering tasks an agent resolves; resumes, and judges again with --rescore."""
    folder = swe_folder(config)
    with resumable(folder):
        report = rescore_swe(folder.path, workers=config.workers) if config.rescore else evaluate_swe(config)
    print(json.dumps(encode(report), ensure_ascii=False) if config.json else format_swe_report(report))
    name_result(folder.path / "preds.json", machine=config.json)
    name_result(folder.report, machine=config.json)
    if report.broken:
        remedies = (
            "; the same command tries again what failed" if report.failed else "",
            "; --rescore judges again what could not be" if report.ungraded else "",
        )
        raise SandboxError(
            f"{len(report.broken)} instances have no verdict, such as {report.broken[0]}{''.join(remedies)}"
        )


def rollout(config: Rollout) -> None:
    """Play episodes of an environment and store their trajectories; resumes."""
    with resumable(rollout_folder(config)):
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
    """The reward whose verdicts are checked; software-engineering tasks are judged by their hidden tests."""
    limit: int | None = None
    """Only the first so many tasks."""
    repeats: int = 2
    """How often hidden tests run with the gold patch, and without it."""
    sandbox: str = "namespace"
    """Where hidden tests run: namespace, docker or ray."""
    workers: int = 2
    """Tasks whose hidden tests run at a time."""
    json: bool = False
    """Print the flaws as JSON lines."""


def validate(config: Validate) -> None:
    """Check that a verifier accepts every gold answer of a task set, and rejects a wrong one."""
    from stepgym.tasks import load

    broken: list[TaskError] = []
    tasks = load(config.tasks, limit=config.limit, broken=broken.append)
    if any(KEY in task.meta for task in tasks):
        _validate_swe(config, tasks, broken)
        return
    if broken:
        raise broken[0]
    reward = REWARDS.make(config.grader)
    flaws = []
    with Progress(f"validate {config.tasks}", len(tasks)) as progress:
        for found in validate_tasks(tasks, reward):
            flaws += found
            progress.advance(f"flaws: {len(flaws)}" if flaws else "")
    _tell(config, flaws, f"of {len(tasks)} tasks of {config.tasks} fail with the grader {config.grader!r}")
    judged = sum(bool(task.answer) for task in tasks)
    skipped = f"; {len(tasks) - judged} have no answer" if judged < len(tasks) else ""
    if not config.json:
        print(f"{judged} gold answers accepted, {judged} wrong ones rejected by {config.grader!r}{skipped}")


def _validate_swe(config: Validate, tasks: Sequence[Task], broken: Sequence[TaskError]) -> None:
    from stepgym.evals.swe_validation import validate_swe
    from stepgym.rewards.swe.hidden_tests import HiddenTests

    if config.repeats < 1 or config.workers < 1:
        raise ConfigError(f"repeats and workers must be at least 1, got {config.repeats} and {config.workers}")
    flaws = [Flaw(str(error).partition(": ")[0], Kind.UNREADABLE, "", str(error)) for error in broken]
    with Progress(f"validate {config.tasks}", len(tasks)) as progress:
        tests = HiddenTests(config.sandbox)
        for found in validate_swe(tasks, tests, repeats=config.repeats, workers=config.workers):
            flaws += found
            progress.advance(f"flaws: {len(flaws)}" if flaws else "")
    _tell(config, flaws, f"of {len(tasks) + len(broken)} tasks of {config.tasks} fail")
    if not config.json:
        times = f"{config.repeats} times each"
        print(f"{len(tasks)} gold patches resolve their tasks and no change resolves none, {times}")


def _tell(config: Validate, flaws: Sequence[Flaw], which: str) -> None:
    """Name the flaws, and raise `TaskError` if there are some."""
    for flaw in flaws:
        line = json.dumps(encode(flaw), ensure_ascii=False)
        print(line if config.json else f"{flaw.task}: {flaw.kind}: {flaw.answer[:200]!r} ({flaw.why})")
    if flaws:
        raise TaskError(f"{len({flaw.task for flaw in flaws})} {which}")


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
def resumable(folder: RunFolder) -> Iterator[None]:
    """Say, after an interruption, how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if folder.trajectories.exists():
            print(f"\n{folder.path} keeps what is finished; the same command goes on from there", file=sys.stderr)
        raise


def name_result(path: Path, *, machine: bool) -> None:
    """The path of what was made comes last; beside machine-readable output it goes to stderr."""
    print(path, file=sys.stderr if machine else sys.stdout)
