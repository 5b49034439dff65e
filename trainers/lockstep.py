"""Batches whose make-up depends on the episodes alone, not on when their environments answer.

`BatchingPolicy` samples whatever has arrived, which is right for serving. For training the last bit matters: which rows
are multiplied together can change it, and a run must repeat itself. Here a batch is sampled when *every* running
episode waits for its next reply, in an order of its own. That is also the fullest batch there can be.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError, RewardError
from stepgym.records import Message, Reply, Role, Task, Usage
from stepgym.trainers.backbone import TokenPolicy


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

    def __init__(self, policy: TokenPolicy, episodes: int) -> None:
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


class LockstepSolver:
    """A frozen policy as the solver of `episodes` environments, asked for all their tasks in one batch.

    Called from the environments' threads, each of which waits until every other episode has called it too, or has
    ended and left; an environment asks it once an episode. The seed of a try depends on what is to be solved and on
    nothing else, so one decomposition always meets the same tries.
    """

    def __init__(self, policy: TokenPolicy, sampling: Sampling, episodes: int) -> None:
        self.policy, self.sampling = policy, sampling
        self._running = episodes
        self._closed = False
        self._waiting: list[_Question] = []
        self._lock = threading.Lock()

    def __call__(self, task: Task, tries: int) -> list[str]:
        """The texts of `tries` attempts at ``task.prompt``. Raises `RewardError` if it cannot be attempted."""
        question = _Question(task.prompt, tries, Future())
        with self._lock:
            if self._closed:
                raise RewardError("the solver is closed")
            self._waiting.append(question)
            self._solve_if_complete()
        return question.texts.result()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # Gymnasium copies the settings of an environment; all of its copies ask the same solver

    def leave(self) -> None:
        """One episode has ended, and asks no more."""
        with self._lock:
            self._running -= 1
            self._solve_if_complete()

    def close(self) -> None:
        """The episodes are broken off: nobody is answered any more, neither those who wait nor those who come."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for question in waiting:
            question.texts.set_exception(RewardError("the solver is closed"))

    def _solve_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._running:
            return
        waiting, self._waiting = self._waiting, []
        try:
            solved = self._solve({(question.prompt, question.tries) for question in waiting})
        except BaseException as error:  # every waiting thread must hear of it, or it waits for ever
            for question in waiting:
                question.texts.set_exception(error)
            return
        for question in waiting:
            texts = solved[question.prompt, question.tries]
            if isinstance(texts, PolicyError):
                question.texts.set_exception(RewardError(f"the solver: {texts}"))
            else:
                question.texts.set_result(texts)

    def _solve(self, questions: set[tuple[str, int]]) -> dict[tuple[str, int], list[str] | PolicyError]:
        ordered = sorted(questions)
        chats = [[Message(Role.USER, prompt)] for prompt, tries in ordered for _ in range(tries)]
        seeds = [random.Random(f"{i}/{prompt}").getrandbits(31) for prompt, tries in ordered for i in range(tries)]
        replies = iter(self.policy.sample_batch(chats, self.sampling, seeds))
        solved: dict[tuple[str, int], list[str] | PolicyError] = {}
        for prompt, tries in ordered:
            texts: list[str] = []
            for reply in islice(replies, tries):
                if isinstance(reply, PolicyError):
                    solved[prompt, tries] = reply
                else:
                    texts.append(reply.text)
            solved.setdefault((prompt, tries), texts)
        return solved


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    prompt: str
    tries: int
    texts: Future[list[str]]
