"""Agreement between the two controllers of an asynchronous run: who uses the models, and whether it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class TurnKeeper:
    """For `ray.remote`: one at a time asks the processes of a model, which must all hear the same order of questions.

    Ray keeps the order of one caller's calls, and of no two. Where models are split over processes that wait for one
    another in every pass, one that hears "score" before "learn", and another that hears the opposite, wait for ever.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._ended = False

    async def acquire(self) -> None:
        """Returns when it is the caller's turn."""
        await self._lock.acquire()

    async def release(self) -> None:
        """Whoever waits is next."""
        self._lock.release()

    async def end(self) -> None:
        """The target was reached: nothing more is to be gathered."""
        self._ended = True

    async def ended(self) -> bool:
        """Whether it was."""
        return self._ended


@dataclass(slots=True)
class Turns:
    """How one of them sees it. Where there is one controller, nobody is asked."""

    keeper: Any = None
    """The actor that is asked."""
    _ended: bool = False

    @classmethod
    def between_two(cls) -> Turns:
        """For the two controllers of an asynchronous run."""
        import ray

        return cls(ray.remote(num_cpus=0)(TurnKeeper).remote())

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The models are the caller's meanwhile."""
        if self.keeper is None:
            yield
            return
        import ray

        ray.get(self.keeper.acquire.remote())
        try:
            yield
        finally:
            ray.get(self.keeper.release.remote())

    def end(self) -> None:
        """Let no step more be gathered."""
        import ray

        self._ended = True
        if self.keeper is not None:
            ray.get(self.keeper.end.remote())

    @property
    def ended(self) -> bool:
        """Whether one of them said so."""
        import ray

        if not self._ended and self.keeper is not None:
            self._ended = ray.get(self.keeper.ended.remote())
        return self._ended
