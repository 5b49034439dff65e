"""What the environments cost: a step without grading, 64 environments in one process, answers under full load.

Run it as ``python benchmarks/envs.py``. Every time is a ratio against a trivial raw Gymnasium environment in the same
run, made with ``gym.make`` too; memory is the peak of the whole process.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Discrete

from stepgym import Task

STEPS = 20_000
EPISODE = 16
ACTION = r"Multiply both sides by 3, so that $3x = \frac{12}{5} + 6$ and therefore $x = \frac{14}{5}$."


class Trivial(gym.Env[int, int]):
    """The least a Gymnasium environment can do."""

    action_space = observation_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Nothing but Gymnasium's own part."""
        super().reset(seed=seed, options=options)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Nothing at all."""
        return action, 0.0, False, False, {}


def microseconds(play: Callable[[], int]) -> float:
    """The median cost of a step over five runs of `play`, which says how many steps it took."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        steps = play()
        times.append((time.perf_counter() - started) / steps * 1e6)
    return statistics.median(times)


def episodes(env: gym.Env[Any, Any], action: Any) -> Callable[[], int]:
    """Plays `STEPS` steps in episodes of `EPISODE`."""

    def play() -> int:
        for step in range(STEPS):
            if step % EPISODE == 0:
                env.reset()
            env.step(action)
        return STEPS

    return play


def batches(envs: gym.vector.VectorEnv[Any, Any, Any]) -> Callable[[], int]:
    """Plays as many, all environments at a time."""

    def play() -> int:
        for step in range(STEPS // envs.num_envs):
            if step % EPISODE == 0:
                envs.reset()
            envs.step([ACTION] * envs.num_envs)
        return STEPS // envs.num_envs * envs.num_envs

    return play


def step_costs() -> None:
    """Print what a step costs that is not graded."""
    gym.register("Trivial-v0", Trivial)
    settings = {"max_steps": EPISODE + 1, "max_characters": 10**6}
    checked = microseconds(episodes(gym.make("Trivial-v0"), 0))
    rows = {
        "trivial raw environment": checked,
        "stepgym/Math-v0": microseconds(episodes(gym.make("stepgym/Math-v0", **settings), ACTION)),
        "64 of them, SyncVectorEnv": microseconds(
            batches(gym.make_vec("stepgym/Math-v0", 64, vectorization_mode="sync", **settings))
        ),
        "64 of them, ThreadVectorEnv": microseconds(batches(gym.make_vec("stepgym/Math-v0", 64, **settings))),
    }
    print(f"{'one step, no grading, resets included':<44}{'µs':>8}{'ratio':>8}")
    for name, cost in rows.items():
        print(f"  {name:<42}{cost:>8.1f}{cost / checked:>8.1f}")


def spin() -> None:
    """Take a core for good."""
    while True:
        pass


ANSWERS = {
    "7": "7",
    "0.5": r"\frac{1}{2}",
    r"\sqrt{8}": r"2\sqrt{2}",
    r"\frac{x+1}{2}": r"\frac{1}{2}x + \frac{1}{2}",
    r"(x-1)(x+1)": "x^2-1",
    r"\frac{\sqrt{3}}{3}": r"\frac{1}{\sqrt{3}}",
    "(1, 2)": "(1,2)",
}
"""Gold answers, each with another form of it. An integer a row makes each of them new to the grader's cache."""


def answers_under_load(count: int = 64, rounds: int = 8) -> None:
    """Print how correct answers in another form than the gold's fare while others saturate the machine."""
    context = multiprocessing.get_context("spawn")
    load = [context.Process(target=spin, daemon=True) for _ in range(2 * (os.cpu_count() or 1))]
    for process in load:
        process.start()
    tasks = [
        Task(id=f"{gold} {i}", prompt="?", answer=f"({gold}, {i})", meta={"other": f"({other}, {i})"})
        for i in range(rounds * 4)
        for gold, other in ANSWERS.items()
    ]
    other = {task.id: task.meta["other"] for task in tasks}
    envs = gym.make_vec("stepgym/Math-v0", count, tasks=tasks, autoreset_mode="SameStep")
    _, infos = envs.reset(seed=0)
    right = wrong = ungraded = 0
    started = time.perf_counter()
    for _ in range(rounds):
        _, rewards, _, _, infos = envs.step([rf"\boxed{{{other[task]}}}" for task in infos["task"]])
        right += int((rewards == 1.0).sum())
        wrong += int((rewards == 0.0).sum())
        ungraded += int((rewards != rewards).sum())
    seconds = time.perf_counter() - started
    envs.close()
    for process in load:
        process.kill()
    print(
        f"\n{count * rounds} correct answers, {len(load)} spinning processes on {os.cpu_count()} cores, {seconds:.1f} s"
    )
    print(f"  scored 1: {right}   scored 0: {wrong}   ungraded: {ungraded}")
    print(f"\n{count} environments in one process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    step_costs()
    answers_under_load()
