"""Runs asynchronous work to its end from ordinary code, in a notebook too."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in an event loop of its own.

    Where a loop is running already, as in a notebook, that is one in another thread; the loop that runs waits for it.
    An interruption (Ctrl-C) cancels the work and comes out when it has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun: Future[asyncio.AbstractEventLoop] = Future()
    task: asyncio.Task[T] | None = None

    async def whole() -> T:
        nonlocal task
        task = asyncio.create_task(work)
        begun.set_result(asyncio.get_running_loop())
        return await task

    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(asyncio.run, whole())
        try:
            return result.result()
        except KeyboardInterrupt:
            loop = begun.result()
            if task is not None and not result.done():
                loop.call_soon_threadsafe(task.cancel)
            raise
