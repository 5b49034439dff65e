"""Grades the stored answers of a run again, without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from stepgym.codec import decode, encode
from stepgym.errors import RewardError, StoreError
from stepgym.evals.maths import MathEval, write_report
from stepgym.evals.report import MathReport
from stepgym.evals.run_folder import FINGERPRINTS, RunFolder
from stepgym.progress import Progress
from stepgym.records import Attempt, Score, Stop
from stepgym.rewards import REWARDS, Reward
from stepgym.store import JsonLines, replacing, write_whole
from stepgym.trajectories import StoredTrajectory

C = TypeVar("C")


def rescore_math(path: Path, *, grader: str) -> MathReport:
    """Grade every stored answer of the run in `path` with `grader`, against the task it was stored with.

    The trajectory file is replaced as a whole at the end, so that a kill leaves the old verdicts; then the report is
    written anew. Samples that failed have no answer, and stay as they are. Raises `StoreError` for a folder without a
    run, or one that is being written to, and `UnknownNameError` for a grader there is not.
    """
    folder, reward = RunFolder(path), REWARDS.make(grader)
    config = stored_config(folder, MathEval)
    grade_again(folder, lambda line: graded_again(line, reward, grader), title=f"grading with {grader}")
    settings = {**folder.settings(), "grader": grader}
    write_whole(folder.config, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return write_report(replace(config, grader=grader), folder)


def stored_config(folder: RunFolder, kind: type[C]) -> C:
    """The settings of a run that has begun. Raises `StoreError` and, for a run of another command, `ConfigError`."""
    if not folder.trajectories.exists():
        raise StoreError(f"{folder.path} holds no trajectories to grade")
    settings = folder.settings()
    folder.task_count()  # the folder of another command is refused before anything in it is changed
    known = {name: value for name, value in settings.items() if name not in FINGERPRINTS}
    return decode(kind, known, where=f"{folder.config}: settings")


def grade_again(
    folder: RunFolder,
    grade: Callable[[StoredTrajectory], StoredTrajectory],
    *,
    title: str,
    workers: int | None = None,
) -> None:
    """Replace every line of a run by what `grade` makes of it, all at once at the end."""
    with JsonLines(folder.trajectories):  # nobody may add to it meanwhile
        lines = list(folder.read().values())
        with Progress(title, len(lines)) as progress, ThreadPoolExecutor(workers or os.cpu_count()) as threads:
            graded = []
            for line in threads.map(grade, lines):
                graded.append(line)
                progress.advance()
        _replace(folder.trajectories, graded)


def graded_again(line: StoredTrajectory, reward: Reward, grader: str) -> StoredTrajectory:
    """A line with the reward's verdict on its last reply."""
    trajectory = line.trajectory
    if trajectory.stop is Stop.ERROR:
        return replace(line, grader=grader)
    *before, last = trajectory.steps
    try:
        score = reward(Attempt(task=trajectory.task, text=last.reply.text, index=len(before)))
    except RewardError as error:
        score = Score.ungraded(str(error))
    stop = Stop.UNGRADED if not score.graded else trajectory.stop
    if score.graded and stop is Stop.UNGRADED:
        stop = Stop.ANSWERED
    steps = (*before, replace(last, score=score))
    return replace(line, grader=grader, trajectory=replace(trajectory, steps=steps, stop=stop))


def _replace(path: Path, lines: Iterable[StoredTrajectory]) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        for line in lines:
            text = json.dumps(encode(line), ensure_ascii=False, allow_nan=False)
            file.write(text.encode("utf-8", "surrogatepass") + b"\n")
        file.flush()
        os.fsync(file.fileno())
