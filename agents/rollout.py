"""The one loop: an agent in an environment, until the environment says stop. And many of them at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from stepgym.agents.policy import Agent
from stepgym.errors import ConfigError, StepgymError
from stepgym.records import Score, Step, Stop, Task, Trajectory

if TYPE_CHECKING:
    import gymnasium

T = TypeVar("T")

THREADS = 256
"""Most environments that can wait for something at the same time."""

# asyncio's own pool has only a few threads for each core, but environments mostly wait. Threads start when needed.
_THREADS = ThreadPoolExecutor(THREADS, thread_name_prefix="stepgym-rollout")


def start_threads() -> None:
    """Start the threads in which environments are called, before an event loop would have to wait for each to start."""
    all_there = threading.Barrier(THREADS)
    for _ in range(THREADS):
        _THREADS.submit(all_there.wait)


async def rollout(env: gymnasium.Env[str, str], agent: Agent, task: Task, *, seed: int | None = None) -> Trajectory:
    """Play one episode of `task`. The environment stays open: who made it closes it.

    What breaks on our side (any `StepgymError`: the policy, the grader, the sandbox) ends the episode and is kept on
    the trajectory; a bug is not, and escapes. `seed` seeds the environment and the agent's sampling.
    """
    steps: list[Step] = []
    stop: Stop | None = None
    error = ""
    try:
        observation, _ = await _call(env, None, partial(env.reset, seed=seed, options={"task": task}))
        agent.reset(seed=seed)
        while stop is None:
            reply = await agent.act(observation)
            following, reward, terminated, truncated, info = await _call(env, reply.text, partial(env.step, reply.text))
            score = info.get("score") or Score(float(reward))
            steps.append(Step(observation=observation, reply=reply, score=score))
            if terminated or truncated:  # a wrapper that ends the episode (Gymnasium's TimeLimit) gives no reason
                stop = info.get("stop") or (Stop.ANSWERED if terminated else Stop.STEP_LIMIT)
            observation = following
    except StepgymError as problem:
        stop, error = Stop.ERROR, f"{type(problem).__name__}: {problem}"
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    return Trajectory(task=task, steps=tuple(steps), stop=stop, error=error, env=name, agent=agent.name)


async def _call(env: gymnasium.Env[Any, Any], action: str | None, function: Callable[[], T]) -> T:
    """Call the environment in a thread, or directly where its `may_block` says that `action` will not wait.

    If we are cancelled meanwhile, the call is first let finish: nobody may close an environment under a running step.
    """
    may_block = getattr(env.unwrapped, "may_block", None)
    if may_block is not None and not may_block(action):
        return function()
    call = asyncio.get_running_loop().run_in_executor(_THREADS, function)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        call.exception()  # looked at, so that asyncio does not complain: the cancellation is what we report
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One episode to be played."""

    task: Task
    index: int = 0
    """Which of the repeated samples of the same task it is, from 0."""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """One episode that has been played."""

    episode: Episode
    trajectory: Trajectory


async def rollout_all(
    make_env: Callable[[], gymnasium.Env[str, str]],
    make_agent: Callable[[], Agent],
    episodes: Iterable[Episode],
    *,
    concurrency: int = 32,
    release: Callable[[], None] | None = None,
) -> AsyncGenerator[Finished, None]:
    """Play many episodes, at most `concurrency` at a time, and yield each as soon as it is finished.

    Environments are reused, one episode at a time each, and closed at the end; one whose episode broke is replaced.
    `episodes` is read as places become free, so it may be endless. When the iteration ends early (an exception,
    cancellation, ``aclose()``), running episodes are cancelled and every environment is closed before it returns.
    Environments that wait for one another would wait for ever then: `release` is called to let them go.
    Raises `ConfigError` for a concurrency below 1.
    """
    if concurrency < 1:
        raise ConfigError(f"concurrency must be at least 1, got {concurrency}")
    todo = iter(episodes)
    free: list[gymnasium.Env[str, str]] = []
    running: set[asyncio.Task[Finished]] = set()
    done: asyncio.Queue[asyncio.Task[Finished]] = asyncio.Queue()

    async def play(episode: Episode) -> Finished:
        env = free.pop() if free else make_env()
        sound = False
        try:
            trajectory = await rollout(env, make_agent(), episode.task, seed=episode.seed)
            sound = trajectory.stop is not Stop.ERROR
            return Finished(episode, trajectory)
        finally:
            free.append(env) if sound else env.close()

    try:
        while True:
            for episode in islice(todo, concurrency - len(running)):
                task = asyncio.create_task(play(episode))
                running.add(task)
                task.add_done_callback(done.put_nowait)
            if not running:
                return
            finished = await done.get()
            running.remove(finished)
            yield finished.result()
    finally:
        for task in running:
            task.cancel()
        if running and release is not None:
            release()
        await asyncio.gather(*running, return_exceptions=True)
        for env in free:
            env.close()
