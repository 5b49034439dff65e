"""`stepgym rollout`: plays episodes of any environment and stores their trajectories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from stepgym.agents.chat import ChatAgent
from stepgym.agents.making import PolicyConfig, make_policy
from stepgym.agents.policy import Sampling
from stepgym.agents.running import run_to_end
from stepgym.evals.environments import env_maker
from stepgym.evals.playing import plan, play_missing
from stepgym.evals.run_folder import RunFolder, default_folder
from stepgym.records import Task
from stepgym.store import JsonLines

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(PolicyConfig):
    """Settings of a run of episodes."""

    env: Positional[str]
    """Id of the environment, such as stepgym/Math-v0."""
    tasks: str = "arithmetic"
    """A task set's name, a family with its settings, or a file; see `stepgym tasks list`."""
    limit: int | None = None
    """Only the first so many tasks."""
    samples: int = 1
    """Episodes of each task."""
    max_steps: int | None = None
    """Most actions of an episode; the environment's own default if not given."""
    reward: str | None = None
    """Name of the reward; the environment's own default if not given."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that make up this much probability."""
    max_tokens: int = 2048
    """Most tokens of one reply."""
    system: str = ""
    """System prompt."""
    history: bool = True
    """Show the model the whole conversation, not only the latest observation."""
    seed: int = 0
    """Of the environments and of the sampling."""
    concurrency: int = 32
    """Episodes under way at a time."""
    patience: int = 10
    """Stop when so many episodes in a row have failed."""
    out: Path | None = None
    """Folder of the run; the same command with the same folder goes on where it stopped. Default: under runs/."""


def play_rollouts(config: Rollout) -> RunFolder:
    """Play what is missing. Safe to kill at any moment: the same call goes on where it stopped."""
    from stepgym.tasks import load

    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    tasks = load(config.tasks, limit=config.limit)
    env_settings: dict[str, Any] = {"tasks": tasks}
    env_settings |= {
        name: getattr(config, name) for name in ("max_steps", "reward") if getattr(config, name) is not None
    }
    make_env = env_maker(config.env, **env_settings)
    folder = rollout_folder(config)
    with JsonLines(folder.trajectories) as file:
        folder.claim(config, tasks)
        run_to_end(_play(config, sampling, tasks, folder, file, make_env))
    return folder


def rollout_folder(config: Rollout) -> RunFolder:
    """Where the run is kept: as asked, or named after the environment, the tasks and the model."""
    path = config.out or default_folder("rollout", config.env, config.tasks, config.model or config.policy)
    return RunFolder(path)


async def _play(
    config: Rollout,
    sampling: Sampling,
    tasks: Sequence[Task],
    folder: RunFolder,
    file: JsonLines,
    make_env: Callable[[], gymnasium.Env[str, str]],
) -> None:
    policy = make_policy(config, tasks=tasks)
    try:
        await play_missing(
            folder,
            file,
            list(plan(tasks, samples=config.samples, seed=config.seed)),
            make_env=make_env,
            make_agent=lambda: ChatAgent(policy, sampling=sampling, system=config.system, history=config.history),
            grader=config.reward or "",
            concurrency=config.concurrency,
            patience=config.patience,
            title=f"rollout {config.env}",
        )
    finally:
        await policy.close()
