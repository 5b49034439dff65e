"""Batches whose make-up depends on the episodes alone, not on when their environments answer.

`BatchingPolicy` samples whatever has arrived, which is right for serving. For training the last bit matters: which rows
are multiplied together can change it, and a run must repeat itself. Here a batch is sampled when *every* running
episode waits for its next reply, in an order of its own. That is also the fullest batch there can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Usage
from stepgym.trainers.policy import LocalPolicy


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    messages: Sequence[Message]
    sampling: Sampling
    reply: asyncio.Future[Reply]

    @property
    def order(self) -> tuple[int, list[str]]:
        """Sorts calls the same way in every run."""
        return self.sampling.seed or 0, [message.content for message in self.messages]


class Lockstep:
    """A policy for exactly `episodes` episodes that run at the same time. Each must `leave` when it has ended."""

    def __init__(self, policy: LocalPolicy, episodes: int) -> None:
        self.policy = policy
        self._running = episodes
        self._waiting: list[_Call] = []

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One reply, once all other episodes have asked for theirs. All must ask for the same sampling."""
        call = _Call(messages, sampling, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._sample_if_complete()
        return await call.reply

    def leave(self) -> None:
        """One episode has ended, and asks no more."""
        self._running -= 1
        self._sample_if_complete()

    async def close(self) -> None:
        """Nothing to free: the policy belongs to somebody else."""

    def _sample_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._running:
            return
        calls = sorted(self._waiting, key=lambda call: call.order)
        self._waiting = []
        started = time.perf_counter()
        # In the event loop's own thread: every episode waits for this, so there is nothing else for it to do.
        replies = self.policy.sample_batch(
            [call.messages for call in calls], replace(calls[0].sampling, seed=None), [c.sampling.seed for c in calls]
        )
        seconds = time.perf_counter() - started
        for call, reply in zip(calls, replies, strict=True):
            if call.reply.done():
                continue
            if isinstance(reply, PolicyError):
                call.reply.set_exception(reply)
            else:
                call.reply.set_result(replace(reply, usage=Usage(len(reply.prompt), len(reply.tokens), seconds)))
