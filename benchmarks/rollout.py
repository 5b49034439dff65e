"""What the rollout loop costs on top of the environment: microseconds a step, as a ratio to a bare ``env.step`` loop.

The environment and the policy do next to nothing, so that all one sees is overhead; a real reply takes milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from stepgym.agents.batching import BatchingPolicy, Chat
from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Policy, Sampling
from stepgym.agents.rollout import Episode, rollout, rollout_all
from stepgym.agents.scripted import ScriptedPolicy
from stepgym.envs import Outcome, TextEnv
from stepgym.records import Reply, Score, Stop, Task

TASK = Task(id="1", prompt="go on", answer="1")
STEPS, EPISODES = 16, 200


class Trivial(TextEnv):
    """Sixteen steps of nothing."""

    def __init__(self, *, blocks: bool = False) -> None:
        super().__init__((TASK,), reward=lambda _: Score(0.0), max_steps=STEPS)
        self.blocks = blocks

    def begin(self) -> str:
        """An observation."""
        return self.task.prompt

    def advance(self, action: str) -> Outcome:  # noqa: ARG002
        """The same one."""
        return Outcome("go on", Score(0.0), Stop.ANSWERED if self.index + 1 == STEPS else None)

    def may_block(self, action: str | None) -> bool:  # noqa: ARG002
        """As told."""
        return self.blocks


class Instant(BatchingPolicy):
    """Batches, and answers at once."""

    name = "instant"

    def sample_batch(
        self,
        chats: Sequence[Chat],
        sampling: Sampling,  # noqa: ARG002
        seeds: Sequence[int | None],  # noqa: ARG002
    ) -> list[Reply]:
        """One reply for each chat."""
        return [Reply(text="on")] * len(chats)


def bare() -> None:
    """What everybody writes first."""
    env = Trivial()
    for _ in range(EPISODES):
        env.reset(options={"task": TASK})
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step("on")
            over = terminated or truncated


def one_by_one(blocks: bool) -> None:
    """The loop, an episode after the other."""

    async def run() -> None:
        env, agent = Trivial(blocks=blocks), ChatAgent(scripted())
        for _ in range(EPISODES):
            await rollout(env, agent, TASK)

    asyncio.run(run())


def many(policy: Policy) -> None:
    """The loop, 64 episodes at a time."""

    async def run() -> None:
        episodes = (Episode(task=TASK) for _ in range(EPISODES))
        async for _ in rollout_all(Trivial, lambda: ChatAgent(policy), episodes, concurrency=64):
            pass
        await policy.close()

    asyncio.run(run())


def scripted() -> ScriptedPolicy:
    """Says the same thing again and again."""
    return ScriptedPolicy.by_function(lambda _: "on")


def microseconds_a_step(function: Callable[[], None]) -> float:
    """The best of five."""
    function()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return 1e6 * min(times) / (EPISODES * STEPS)


def main() -> None:
    """Print the table."""
    base = microseconds_a_step(bare)
    rows: list[tuple[str, Callable[[], None]]] = [
        ("rollout, environment called directly", lambda: one_by_one(False)),
        ("rollout, environment called in a thread", lambda: one_by_one(True)),
        ("rollout_all, 64 at a time", lambda: many(scripted())),
        ("rollout_all, 64 at a time, a batching policy", lambda: many(Instant())),
    ]
    print(f"{'':<46} {'µs a step':>10} {'× bare':>7}")
    print(f"{'bare env.step loop':<46} {base:10.1f} {1.0:7.1f}")
    for name, function in rows:
        cost = microseconds_a_step(function)
        print(f"{name:<46} {cost:10.1f} {cost / base:7.1f}")


if __name__ == "__main__":
    main()
