"""Turns concurrent `sample` calls into batches, for engines that live in this process.

While one batch is computed, the next one collects. A call that finds the engine idle starts at once, together with
whatever else is ready in the same turn of the event loop. Only when the batch before held more calls than are waiting
is there a short pause for the rest of them, which are on their way back from their environments.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Usage

Chat: TypeAlias = Sequence[Message]
"""The messages of one conversation so far; the policy speaks next."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One `sample` call that waits for its batch."""

    chat: Chat
    sampling: Sampling
    reply: asyncio.Future[Reply]


class BatchingPolicy(ABC):
    """A policy whose engine samples many chats at once. Subclasses write `name` and `sample_batch`.

    May be used from one event loop after another, not from two at a time. `sample_batch` always runs in the same
    thread, one batch after the other.
    """

    def __init__(self, *, max_batch: int = 64, linger: float = 0.005) -> None:
        """At most `max_batch` chats a batch; at most `linger` seconds of waiting for stragglers, none when alone."""
        self.max_batch, self.linger = max_batch, linger
        self._waiting: list[_Call] = []
        self._complete = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._previous = 1
        self.closing = False
        """Set while `close` waits; a `sample_batch` that takes long looks at it, and returns early."""
        self._thread: ThreadPoolExecutor | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What trajectories and reports call it."""

    @abstractmethod
    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        """One reply for each of `chats`, in order; a chat that cannot be answered (too long) gets an error instead.

        `sampling.seed` is None: `seeds` has the seed of each row. `Reply.usage` is filled in by the caller. Whatever is
        raised here is raised by every call in the batch.
        """

    async def sample(self, messages: Chat, sampling: Sampling) -> Reply:
        """One reply to the chat so far, sampled together with the other calls of this moment."""
        started = time.perf_counter()
        call = _Call(tuple(messages), sampling, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if len(self._waiting) >= self._expected():
            self._complete.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        reply = await call.reply
        usage = Usage(len(reply.prompt), len(reply.tokens), time.perf_counter() - started)
        return replace(reply, usage=usage)

    async def close(self) -> None:
        """Stop the engine's thread, after the batch it is working on. Subclasses that hold more extend this."""
        if self._thread is not None:
            thread, self._thread, self.closing = self._thread, None, True
            await asyncio.to_thread(thread.shutdown)
            self.closing = False

    def _expected(self) -> int:
        return min(self._previous, self.max_batch)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._linger()
                batch = self._take()
                if batch:
                    await self._compute(batch)
        except asyncio.CancelledError:  # the event loop is shutting down, and the callers with it
            for call in self._waiting:
                call.reply.cancel()
            self._waiting.clear()
            raise

    async def _linger(self) -> None:
        self._complete = asyncio.Event()
        if len(self._waiting) < self._expected():
            try:
                await asyncio.wait_for(self._complete.wait(), self.linger)
            except TimeoutError:
                return

    def _take(self) -> list[_Call]:
        """The longest-waiting call and those behind it that are sampled alike, up to `max_batch`."""
        self._waiting = [call for call in self._waiting if not call.reply.done()]  # their callers gave up
        batch: list[_Call] = []
        rest: list[_Call] = []
        for call in self._waiting:
            alike = not batch or _unseeded(call) == _unseeded(batch[0])
            (batch if alike and len(batch) < self.max_batch else rest).append(call)
        self._waiting = rest
        self._previous = max(1, len(batch))
        return batch

    async def _compute(self, batch: Sequence[_Call]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=type(self).__name__)
        chats, seeds = [call.chat for call in batch], [call.sampling.seed for call in batch]
        run = asyncio.get_running_loop().run_in_executor
        outcomes: list[tuple[_Call, Reply | Exception]]
        try:
            replies = await run(self._thread, self.sample_batch, chats, _unseeded(batch[0]), seeds)
            outcomes = list(zip(batch, replies, strict=True))
        except Exception as error:  # nothing is swallowed: every caller raises it
            outcomes = [(call, error) for call in batch]
        for call, outcome in outcomes:
            if call.reply.done():
                continue
            if isinstance(outcome, Exception):
                call.reply.set_exception(outcome)
            else:
                call.reply.set_result(outcome)


def _unseeded(call: _Call) -> Sampling:
    return replace(call.sampling, seed=None) if call.sampling.seed is not None else call.sampling
