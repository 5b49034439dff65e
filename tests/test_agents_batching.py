"""Concurrent calls become batches; errors and cancellation reach the right callers."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from stepgym.agents.batching import BatchingPolicy, Chat
from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Role


class Echo(BatchingPolicy):
    """Takes 10 ms a batch, whatever its size, and remembers the batches."""

    name = "echo"

    def __init__(self, *, max_batch: int = 64) -> None:
        super().__init__(max_batch=max_batch)
        self.batches: list[list[str]] = []
        self.seeds: list[Sequence[int | None]] = []
        self.threads: set[int] = set()

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        assert sampling.seed is None
        self.threads.add(threading.get_ident())
        texts = [chat[-1].content for chat in chats]
        self.batches.append(texts)
        self.seeds.append(seeds)
        time.sleep(0.01)
        if "bug" in texts:
            raise ZeroDivisionError
        return [PolicyError("too long") if text == "long" else Reply(text=text, tokens=(1, 2)) for text in texts]


async def ask(policy: Echo, text: str, **sampling: float) -> Reply:
    settings = Sampling(temperature=sampling.get("temperature", 1.0), seed=int(sampling.get("seed", 0)))
    return await policy.sample([Message(Role.USER, text)], settings)


def test_calls_of_one_moment_are_one_batch_and_keep_their_seeds() -> None:
    policy = Echo()

    async def run() -> list[Reply]:
        return await asyncio.gather(*(ask(policy, str(i), seed=i) for i in range(40)))

    for _ in range(2):  # in one event loop after the other
        assert [reply.text for reply in asyncio.run(run())] == [str(i) for i in range(40)]
    assert [len(batch) for batch in policy.batches] == [40, 40]
    assert policy.seeds[0] == list(range(40))
    assert len(policy.threads) == 1
    asyncio.run(policy.close())
    asyncio.run(policy.close())


def test_batches_respect_their_limit_and_the_order_of_arrival() -> None:
    policy = Echo(max_batch=16)

    async def run() -> None:
        await asyncio.gather(*(ask(policy, str(i)) for i in range(40)))
        await policy.close()

    asyncio.run(run())
    assert [len(batch) for batch in policy.batches] == [16, 16, 8]
    assert [text for batch in policy.batches for text in batch] == [str(i) for i in range(40)]


def test_different_settings_are_different_batches() -> None:
    policy = Echo()

    async def run() -> None:
        await asyncio.gather(*(ask(policy, str(i), temperature=float(i % 2)) for i in range(10)))
        await policy.close()

    asyncio.run(run())
    assert sorted(map(sorted, policy.batches)) == [list("02468"), list("13579")]


def test_stragglers_on_their_way_back_are_waited_for() -> None:
    policy = Echo()

    async def episode(number: int) -> None:
        for _ in range(5):
            await ask(policy, str(number))
            await asyncio.sleep(0.001 * (number % 3))  # environments take their time

    async def run() -> None:
        await asyncio.gather(*map(episode, range(12)))
        await policy.close()

    asyncio.run(run())
    assert len(policy.batches) <= 7  # 5, were all in step; 60 without batching


def test_alone_nobody_waits() -> None:
    policy = Echo()
    policy.linger = 10.0

    async def run() -> Reply:
        await ask(policy, "x")
        reply = await ask(policy, "y")
        await policy.close()
        return reply

    started = time.monotonic()
    assert asyncio.run(run()).usage.seconds < 1
    assert time.monotonic() - started < 1


def test_an_error_reaches_the_calls_it_is_about() -> None:
    policy = Echo()

    async def run() -> None:
        good, long = await asyncio.gather(ask(policy, "good"), ask(policy, "long"), return_exceptions=True)
        assert isinstance(good, Reply)
        assert isinstance(long, PolicyError)
        both = await asyncio.gather(ask(policy, "good"), ask(policy, "bug"), return_exceptions=True)
        assert all(isinstance(error, ZeroDivisionError) for error in both)
        assert (await ask(policy, "after")).text == "after"
        await policy.close()

    asyncio.run(run())


def test_a_cancelled_call_is_left_out_and_harms_nobody() -> None:
    policy = Echo(max_batch=1)

    async def run() -> None:
        first, second, third = (asyncio.create_task(ask(policy, text)) for text in ("first", "second", "third"))
        await asyncio.sleep(0.002)
        second.cancel()
        assert (await first).text == "first"
        assert (await third).text == "third"
        assert second.cancelled()
        await policy.close()

    asyncio.run(run())
    assert policy.batches == [["first"], ["third"]]


def test_closing_interrupts_an_engine_that_looks() -> None:
    class Slow(Echo):
        def sample_batch(
            self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
        ) -> Sequence[Reply | PolicyError]:
            for _ in range(1000):
                time.sleep(0.01)
                if self.closing:
                    break
            return [Reply(text="") for _ in chats]

    policy = Slow()

    async def run() -> None:
        call = asyncio.create_task(ask(policy, "x"))
        await asyncio.sleep(0.05)
        call.cancel()
        await policy.close()

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 3
    assert not policy.closing


def test_it_works_again_after_an_interrupted_event_loop() -> None:
    policy = Echo()

    async def interrupted() -> None:
        waiting = [asyncio.create_task(ask(policy, str(i))) for i in range(3)]
        await asyncio.sleep(0.002)
        assert not any(call.done() for call in waiting)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted())
    assert asyncio.run(ask(policy, "again")).text == "again"
    asyncio.run(policy.close())
