"""Groups of episodes, played through the one rollout loop in batches that repeat themselves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Sampling
from stepgym.agents.rollout import THREADS, Episode, rollout_all
from stepgym.agents.running import run_to_end
from stepgym.records import Task, Trajectory
from stepgym.trainers.backbone import TokenPolicy
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.lockstep import Lockstep, LockstepSolver
from stepgym.trainers.recipe import Group
from stepgym.trainers.source import seeds_of
from stepgym.trainers.stage import Stage

if TYPE_CHECKING:
    import gymnasium


class Table:
    """Where a run's episodes are played: by one policy, in any stage."""

    def __init__(self, config: TrainConfig, policy: TokenPolicy, solver: TokenPolicy) -> None:
        """`solver` attempts what an environment wants to see solved."""
        self.config, self.policy, self.solver = config, policy, solver

    def play(
        self, tasks: Sequence[Task], copies: int, stage: Stage, *, seed: str, temperature: float = 1.0
    ) -> list[Group]:
        """`copies` episodes of each task. The trajectories depend on `seed` and the policy's weights alone."""
        seeds = iter(seeds_of(seed, len(tasks) * copies))
        episodes = [Episode(task=task, index=index, seed=next(seeds)) for task in tasks for index in range(copies)]
        trajectories: list[Trajectory] = []
        for start in range(0, len(episodes), THREADS):
            trajectories += run_to_end(self._play(episodes[start : start + THREADS], stage, temperature))
        return [
            Group(task, tuple(trajectories[start : start + copies]))
            for task, start in zip(tasks, range(0, len(episodes), copies), strict=True)
        ]

    async def _play(self, episodes: Sequence[Episode], stage: Stage, temperature: float) -> list[Trajectory]:
        config = self.config
        sampling = Sampling(temperature=temperature, max_tokens=config.max_tokens, stop=stage.stop, keep_stop=True)
        lockstep = Lockstep(self.policy, len(episodes))
        solver = LockstepSolver(self.solver, Sampling(max_tokens=config.max_tokens), len(episodes))
        more = {"solver": solver} if stage.takes("solver") else {}
        tasks = (episodes[0].task,)

        def make_env() -> gymnasium.Env[str, str]:
            # The task of each episode is given to reset; the environment's own tasks are never drawn from.
            return stage.make(tasks, **more)

        def make_agent() -> ChatAgent:
            return ChatAgent(lockstep, sampling=sampling, system=config.system)

        played: dict[int, Trajectory] = {}
        async with aclosing(
            rollout_all(make_env, make_agent, episodes, concurrency=len(episodes), release=solver.close)
        ) as stream:
            async for finished in stream:
                played[id(finished.episode)] = finished.trajectory
                lockstep.leave()
                solver.leave()
        return [played[id(episode)] for episode in episodes]
