"""Groups of episodes, played through the one rollout loop in batches that repeat themselves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Sampling
from stepgym.agents.rollout import Episode, rollout_all
from stepgym.agents.running import run_to_end
from stepgym.records import Task, Trajectory
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.lockstep import Lockstep
from stepgym.trainers.policy import LocalPolicy
from stepgym.trainers.recipe import Group


@dataclass(frozen=True, slots=True)
class Table:
    """Where a run's episodes are played: the environment with its settings, and the policy."""

    config: TrainConfig
    policy: LocalPolicy

    def play(self, tasks: Sequence[Task], copies: int, *, seed: str, temperature: float = 1.0) -> list[Group]:
        """`copies` episodes of each task. The trajectories depend on `seed` and the policy's weights alone."""
        rng = random.Random(seed)
        episodes = [
            Episode(task=task, index=index, seed=rng.getrandbits(31)) for task in tasks for index in range(copies)
        ]
        trajectories = run_to_end(self._play(episodes, temperature)) if episodes else []
        return [
            Group(task, tuple(trajectories[start : start + copies]))
            for task, start in zip(tasks, range(0, len(episodes), copies), strict=True)
        ]

    async def _play(self, episodes: Sequence[Episode], temperature: float) -> list[Trajectory]:
        import gymnasium

        config = self.config
        sampling = Sampling(temperature=temperature, max_tokens=config.max_tokens)
        lockstep = Lockstep(self.policy, len(episodes))
        tasks = (episodes[0].task,)

        def make_env() -> gymnasium.Env[str, str]:
            # The task of each episode is given to reset; the environment's own tasks are never drawn from.
            return gymnasium.make(
                config.env,
                tasks=tasks,
                max_steps=config.max_steps,
                instructions=config.instructions,
                disable_env_checker=True,
            )

        def make_agent() -> ChatAgent:
            return ChatAgent(lockstep, sampling=sampling)

        played: dict[int, Trajectory] = {}
        async with aclosing(rollout_all(make_env, make_agent, episodes, concurrency=len(episodes))) as stream:
            async for finished in stream:
                played[id(finished.episode)] = finished.trajectory
                lockstep.leave()
        return [played[id(episode)] for episode in episodes]
