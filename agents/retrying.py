"""Trying again: exponential backoff with jitter, a bounded number of times.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter: without jitter, the clients that
failed together come back together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from stepgym.errors import PolicyError

T = TypeVar("T")


class TransientError(Exception):
    """An attempt failed in a way that may pass. `wait`: how many seconds the other side asked for."""

    def __init__(self, why: str, *, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often to try again, and when."""

    retries: int = 6
    """Attempts after the first one."""
    first: float = 1.0
    """Seconds before the first retry, doubled for each further one; each wait is drawn from the upper half of that."""
    longest: float = 60.0
    """Most seconds of one wait of our own choosing."""
    patience: float = 300.0
    """Most seconds the other side may ask us to wait (``Retry-After``); asked for more, we give up."""

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What the first `attempt` that works returns. Raises `PolicyError` when they are used up."""
        for retry in range(self.retries + 1):
            try:
                return await attempt()
            except TransientError as failure:
                if retry == self.retries or (failure.wait or 0.0) > self.patience:
                    raise PolicyError(f"gave up after {retry + 1} attempts: {failure}") from failure
                await asyncio.sleep(self.wait(retry, failure.wait))
        raise AssertionError("unreachable")

    def wait(self, retry: int, asked: float | None) -> float:
        """Seconds to wait before retry number `retry` (from 0): never less than the other side `asked` for."""
        planned = min(self.longest, self.first * 2.0**retry)
        return max(asked or 0.0, planned * random.uniform(0.5, 1.0))


def parse_retry_after(value: str | None) -> float | None:
    """Seconds in a ``Retry-After`` header (RFC 9110, 10.2.3: a number or a date); None if it cannot be read."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())
