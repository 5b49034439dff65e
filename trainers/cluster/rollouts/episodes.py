"""Where the episodes of one process are played: many beside each other, in environments that are used again."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import threading
from collections import defaultdict
from typing import Any

import gymnasium

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Policy, Sampling
from stepgym.agents.rollout import rollout
from stepgym.envs.solver import Solver
from stepgym.errors import ConfigError
from stepgym.records import Stop, Trajectory
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest
from stepgym.trainers.stage import Stage

LIMIT = "STEPGYM_EPISODES"
"""Environment variable: most episodes that a process plays at a time."""
DEFAULT_LIMIT = 256
_STARTS = threading.Semaphore(8)
"""Episodes that begin at a time, where that takes long, on however many cores: hundreds of threads that want the
interpreter at once would have the event loop wait for each."""


class Episodes:
    """Plays episodes as they are asked for, so many at a time and the rest in their turn, whatever the engine does.

    An environment is kept for later episodes of the same kind with the same settings, unless an episode broke in it.
    They are closed when the process ends; what is killed leaves its sandboxes to their reaper (`stepgym.sandboxes`).
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is that of the variable `LIMIT`, or `DEFAULT_LIMIT`, unless given."""
        self._places = asyncio.Semaphore(limit or limit_of_process())
        self._beginnings = InTurn()
        self._free: dict[str, list[gymnasium.Env[str, str]]] = defaultdict(list)
        self.solver: Solver | None = None
        """Given to environments that take one, in place of their own."""
        atexit.register(self.close)

    async def play(
        self, request: EpisodeRequest, policy: Policy, *, sampling: Sampling | None = None, seed: int | None = None
    ) -> Trajectory:
        """One episode of `request`, sampled as it says unless `sampling` does.

        What breaks on our side is kept on the trajectory. Raises `ConfigError` and `TaskError` for settings or a task
        that the environment refuses, before anything is played.
        """
        agent = ChatAgent(policy, sampling=sampling or sampling_of(request), system=request.system)
        kind = json.dumps([request.env, dict(request.settings)], sort_keys=True)
        async with self._places:
            free = self._free[kind]
            env = free.pop() if free else await asyncio.to_thread(self._make, request)
            sound = False
            try:
                await self._beginnings.mine()
                trajectory = await rollout(env, agent, request.task, seed=seed)
                sound = trajectory.stop is not Stop.ERROR
                return trajectory
            finally:
                if sound:
                    free.append(env)
                else:
                    await asyncio.shield(asyncio.to_thread(env.close))

    def close(self) -> None:
        """Close the environments that wait for their next episode."""
        for free in self._free.values():
            while free:
                free.pop().close()

    def _make(self, request: EpisodeRequest) -> gymnasium.Env[str, str]:
        stage = Stage(request.env, request.settings)
        more = {"solver": self.solver} if self.solver is not None and stage.takes("solver") else {}
        return Paced(stage.make((request.task,), **more))  # reset is given the task of each episode


class InTurn:
    """Spreads out work of which hundreds of coroutines may be due at once: the event loop attends to others between."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def mine(self) -> None:
        """Returns in another round of the event loop than for anybody else."""
        async with self._lock:
            await asyncio.sleep(0)


class Paced(gymnasium.Wrapper[str, str, str, str]):
    """Begins its episode when few others do, if that may wait."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """As the environment's."""
        may_block = getattr(self.unwrapped, "may_block", None)
        if may_block is not None and not may_block(None):  # then it is called in the event loop, which must not wait
            return self.env.reset(seed=seed, options=options)
        with _STARTS:
            return self.env.reset(seed=seed, options=options)


def sampling_of(request: EpisodeRequest) -> Sampling:
    """How the replies of `request` are sampled."""
    return Sampling(temperature=request.temperature, max_tokens=request.max_tokens, stop=request.stop, keep_stop=True)


def limit_of_process() -> int:
    """What the variable `LIMIT` says. Raises `ConfigError` unless that is a number above 0."""
    text = os.environ.get(LIMIT, str(DEFAULT_LIMIT))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{LIMIT} must be a number of episodes, at least 1, not {text!r}")
    return int(text)
