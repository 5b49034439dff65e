"""Many episodes in one rollout actor: how late its event loop is, which serves the engine and every one of them.

    .venv-cluster/bin/python benchmarks/cluster_rollout.py

A coroutine in the actor's own loop sleeps 10 ms again and again, and notes how much longer it took. "Idle" is the same
in a process that does nothing else, at the same time: how late this machine is anyway. The model is random, so math
episodes go to their last step, and software-engineering episodes run whatever it says as commands, in real sandboxes.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPISODES = 256
GROUP = 8
CONTEXT = 4096
MATH = {"max_steps": 4, "max_characters": 1 << 20}
SWE = {"max_steps": 4, "autosubmit": True}


def main() -> None:
    """Print the table."""
    if importlib.util.find_spec("openrlhf") is None:
        print("skipped: OpenRLHF is not installed here; `make test-cluster` makes an environment that has it")
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_qwen import make_tiny_qwen
    from watched_actor import watched_actor

    from stepgym.tasks import load

    sums, repositories = load("arithmetic"), load("swe-small")
    with (
        tempfile.TemporaryDirectory() as folder,
        watched_actor(make_tiny_qwen(Path(folder), context=CONTEXT), context=CONTEXT) as actor,
    ):
        print(f"{EPISODES} episodes at a time; the loop is late, in ms")
        print(f"{'':28}{'seconds':>9}{'turns':>7}{'median':>9}{'p99':>9}{'most':>9}{'idle p99':>10}{'most':>9}")
        show(actor, "8, to load everything", "stepgym/Math-v0", sums[:1], MATH)
        show(actor, "stepgym/Math-v0", "stepgym/Math-v0", spread(sums), MATH)
        show(actor, "stepgym/SWE-v0, namespace", "stepgym/SWE-v0", spread(repositories), SWE)


def spread(tasks: Sequence[Any]) -> list[Any]:
    """A task for each group."""
    return [tasks[i % len(tasks)] for i in range(EPISODES // GROUP)]


def show(actor: Any, name: str, env: str, tasks: Sequence[Any], settings: dict[str, Any]) -> None:
    """One line of the table: a group of episodes for each of `tasks`, all asked for at once."""
    from watched_actor import percentile, play_watched

    from stepgym.trainers.cluster.rollouts.request import EpisodeRequest

    requests = [
        EpisodeRequest(
            task=task, env=env, settings=settings, max_tokens=64, seeds=tuple(range(GROUP * i, GROUP * i + GROUP))
        )
        for i, task in enumerate(tasks)
    ]
    played = play_watched(actor, requests)
    turns = sum(len(trajectory.steps) for trajectory in played.trajectories) / len(played.trajectories)
    numbers = [percentile(played.late, 50), percentile(played.late, 99), max(played.late)]
    numbers += [percentile(played.idle, 99), max(played.idle)]
    columns = "".join(f"{1000 * number:{width}.1f}" for number, width in zip(numbers, (9, 9, 9, 10, 9), strict=True))
    print(f"{name:28}{played.seconds:9.1f}{turns:7.1f}{columns}", flush=True)
    broken = [trajectory.error for trajectory in played.trajectories if trajectory.error]
    if broken:
        print(f"  {len(broken)} broke: {broken[0]}")


if __name__ == "__main__":
    main()
