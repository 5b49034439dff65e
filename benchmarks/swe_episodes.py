"""Software-engineering episodes: how many a second, beside the same tests without environment, sandbox or proof.

    python benchmarks/swe_episodes.py

An episode with the gold agent is a sandbox, the gold patch by a command, a submission, and fresh sandboxes in which the
hidden tests run: as they are, and as twins that must fail. The floor is what a script would do, in no sandbox: copy the
repository, apply the patch, and run the task's own script. Both go over the shipped tasks in turn, on as many threads,
and what an agent must reach is checked: reward 1 for every gold episode, 0 for every one without a change.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium as gym

import stepgym  # noqa: F401 - registers the environments
from stepgym.agents import GoldAgent, NoOpAgent, rollout_all
from stepgym.agents.policy import Agent
from stepgym.agents.rollout import Episode
from stepgym.records import Task
from stepgym.rewards.swe.repository import checkout
from stepgym.tasks import load
from stepgym.tasks.swe import instance_of

EPISODES = 200
WORKERS = 4


def main() -> None:
    """Print the table."""
    tasks = load("swe-small")
    print(f"{EPISODES} episodes of {len(tasks)} tasks, {WORKERS} at a time")
    floor = bare(tasks)
    print(f"{'copy, patch, test script; no sandbox':40}{floor:8.1f} a second{1:8.2f}x")
    for agent, make, reward in (("gold", lambda: GoldAgent(tasks), 1.0), ("no-op", NoOpAgent, 0.0)):
        rate = played(tasks, make, reward)
        print(f"{f'{agent}, every reward {reward:g}':40}{rate:8.1f} a second{rate / floor:8.2f}x")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    print(f"processes left: {len(children)}")


def played(tasks: tuple[Task, ...], make: Callable[[], Agent], expected: float) -> float:
    """Episodes a second; raises `AssertionError` for one with another reward."""

    async def whole() -> None:
        episodes = [Episode(task=tasks[i % len(tasks)], index=i // len(tasks)) for i in range(EPISODES)]
        async for done in rollout_all(lambda: gym.make("stepgym/SWE-v0"), make, episodes, concurrency=WORKERS):
            trajectory = done.trajectory
            assert trajectory.reward == expected, (trajectory.task.id, trajectory.stop, trajectory.error)

    begun = time.perf_counter()
    asyncio.run(whole())
    return EPISODES / (time.perf_counter() - begun)


def bare(tasks: tuple[Task, ...]) -> float:
    """Runs a second of the tests after the gold patch, by subprocesses."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        for log in threads.map(_tested, [tasks[i % len(tasks)] for i in range(EPISODES)]):
            assert "\nOK\n" in log, log
    return EPISODES / (time.perf_counter() - begun)


def _tested(task: Task) -> str:
    instance = instance_of(task)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "repository"
        shutil.copytree(checkout(instance.source), folder)
        subprocess.run(["git", "apply", "-"], input=task.answer, text=True, cwd=folder, check=True)
        script = instance.eval_script.replace(instance.workdir, str(folder))
        done = subprocess.run(
            ["bash", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": made},  # the script writes git's settings
            text=True,
            check=False,
        )
        return done.stdout


if __name__ == "__main__":
    main()
