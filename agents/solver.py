"""A language model as the frozen solver of ``stepgym/Decompose-v0``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

from stepgym.agents.policy import Policy, Sampling
from stepgym.agents.reasoner import REASON
from stepgym.agents.seeding import content_seed
from stepgym.errors import PolicyError, RewardError
from stepgym.records import Message, Role, Task


class PolicySolver:
    """Solves tasks with a policy. A `stepgym.envs.solver.Solver`: called from any thread, by many at a time.

    All calls run in one event loop, in a thread that starts with the first call, so that a policy that batches sees
    them together. While the solver is open the policy is its own: `close` closes it too. Use as a context manager.

    Solutions repeat where the policy honours seeds: each has a seed that depends on `seed`, the prompt and its number.
    """

    def __init__(
        self, policy: Policy, *, sampling: Sampling | None = None, system: str = REASON, seed: int = 0
    ) -> None:
        """The policy sees `system`, unless it is "", and the task's prompt."""
        self.policy, self.sampling, self.system, self.seed = policy, sampling or Sampling(), system, seed
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def __call__(self, task: Task, tries: int, /) -> Sequence[str]:
        """`tries` solutions of ``task.prompt``. Raises `RewardError` if one cannot be sampled."""
        with self._lock:
            solving = asyncio.run_coroutine_threadsafe(self._solve(task.prompt, tries), self._started())
        try:
            return solving.result()
        except PolicyError as error:
            raise RewardError(f"the solver failed: {error}") from error
        except CancelledError as error:
            raise RewardError("the solver was closed") from error
        finally:
            solving.cancel()  # whoever waited was interrupted, or it is done

    def close(self) -> None:
        """Stop what is under way, close the policy and end the thread. Safe to call twice; a later call starts anew."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of an environment ask the same one

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="stepgym-solver", daemon=True)
            self._thread.start()
        return self._loop

    async def _solve(self, prompt: str, tries: int) -> list[str]:
        system = [Message(Role.SYSTEM, self.system)] if self.system else []
        chat = [*system, Message(Role.USER, prompt)]
        seeds = [content_seed(self.seed, prompt, index) for index in range(tries)]
        samples = (self.policy.sample(chat, replace(self.sampling, seed=seed)) for seed in seeds)
        replies = await asyncio.gather(*samples, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return [reply.text for reply in replies if not isinstance(reply, BaseException)]

    async def _end(self) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.policy.close()
        await asyncio.get_running_loop().shutdown_default_executor()
