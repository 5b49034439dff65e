"""Plays the episodes of a run that are still missing, and stores each as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from stepgym.agents.policy import Agent
from stepgym.agents.rollout import Episode, Finished, rollout_all
from stepgym.agents.seeding import content_seed
from stepgym.errors import ConfigError, PolicyError, TaskError
from stepgym.evals.run_folder import Place, RunFolder
from stepgym.progress import Progress
from stepgym.records import Stop, Task, Trajectory
from stepgym.store import JsonLines
from stepgym.trajectories import VERSION, StoredTrajectory

if TYPE_CHECKING:
    import gymnasium


def plan(tasks: Sequence[Task], *, samples: int, seed: int) -> Iterator[Episode]:
    """Every episode of a run: all tasks once, then all again, each with a seed that depends on nothing else.

    Raises `ConfigError` for no samples, and `TaskError` if two tasks have one id: who could tell their answers apart?
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, got {samples}")
    if len({task.id for task in tasks}) < len(tasks):
        twice = next(task.id for i, task in enumerate(tasks) if any(task.id == other.id for other in tasks[:i]))
        raise TaskError(f"two tasks have the id {twice!r}")
    for index in range(samples):
        for task in tasks:
            yield Episode(task=task, index=index, seed=content_seed(seed, task.id, index))


async def play_missing(
    folder: RunFolder,
    file: JsonLines,
    episodes: Collection[Episode],
    *,
    make_env: Callable[[], gymnasium.Env[str, str]],
    make_agent: Callable[[], Agent],
    grader: str,
    concurrency: int,
    patience: int,
    title: str,
    note: Callable[[Trajectory], str] | None = None,
    release: Callable[[], None] | None = None,
) -> None:
    """Play those `episodes` that the folder does not hold, or holds as failed, and append them to its `file`.

    An episode that fails is stored as such and does not stop the run; `patience` failures of the policy in a row do,
    with a `PolicyError`: the endpoint is dead, and the rest would fail too. `note` is what stands beside the progress
    after an episode, by default the mean reward; `release` is that of `rollout_all`.
    """
    done = {place for place, line in folder.read(grader).items() if line.trajectory.stop is not Stop.ERROR}
    missing = [episode for episode in episodes if Place(episode.task.id, episode.index) not in done]
    with Progress(title, len(episodes), done=len(episodes) - len(missing)) as progress:
        recorder = _Recorder(file, progress, note or MeanReward(), grader=grader, patience=patience)
        playing = rollout_all(make_env, make_agent, missing, concurrency=concurrency, release=release)
        async with aclosing(playing) as stream:
            async for finished in stream:
                recorder.record(finished)


class MeanReward:
    """How a run goes: the mean reward so far, or what an episode failed with."""

    def __init__(self) -> None:
        self.rewards: list[float] = []

    def __call__(self, trajectory: Trajectory) -> str:
        """After one more episode."""
        if trajectory.stop is Stop.ERROR:
            return f"failed: {trajectory.error[:80]}"
        if trajectory.graded:
            self.rewards.append(trajectory.reward)
        return f"mean reward {sum(self.rewards) / len(self.rewards):.3f}" if self.rewards else ""


class _Recorder:
    """Stores finished episodes, shows how it goes, and notices when nothing goes any more."""

    def __init__(
        self, file: JsonLines, progress: Progress, note: Callable[[Trajectory], str], *, grader: str, patience: int
    ) -> None:
        self.file, self.progress, self.note, self.grader, self.patience = file, progress, note, grader, patience
        self.failures = 0

    def record(self, finished: Finished) -> None:
        episode, trajectory = finished.episode, finished.trajectory
        self.file.append(
            StoredTrajectory(
                version=VERSION, sample=episode.index, seed=episode.seed, grader=self.grader, trajectory=trajectory
            )
        )
        if trajectory.stop is not Stop.ERROR:
            self.failures = 0
        elif trajectory.error.startswith(PolicyError.__name__):
            self.failures += 1
            if self.failures >= self.patience:
                raise PolicyError(f"stopped after {self.failures} failures in a row; the last: {trajectory.error}")
        self.progress.advance(self.note(trajectory))
