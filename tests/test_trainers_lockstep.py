"""A batch is the same whichever episode asks first: for the policy that plays, and for the solver behind a reward."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
import torch

from stepgym.agents.batching import Chat
from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError, RewardError
from stepgym.records import Message, Reply, Role, Task
from stepgym.trainers import LocalPolicy, ModelConfig
from stepgym.trainers.lockstep import Lockstep, LockstepSolver
from stepgym.trainers.model import Transformer
from stepgym.trainers.tokenizer import CharTokenizer

PROBLEMS = ("3+1=", "1+1=", "20+1=", "2+1=")


class Watched(LocalPolicy):
    """Remembers the batches it was asked for."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        tokenizer = CharTokenizer()
        sizes = ModelConfig(width=16, layers=1, heads=2, context=16)
        super().__init__(Transformer.seeded(len(tokenizer), sizes, 0), tokenizer)
        self.batches: list[tuple[list[str], list[int | None]]] = []

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> list[Reply | PolicyError]:
        self.batches.append(([chat[-1].content for chat in chats], list(seeds)))
        return super().sample_batch(chats, sampling, seeds)


def solve(policy: LocalPolicy, problems: Sequence[str], *, leaving: int = 0) -> dict[str, list[str] | Exception]:
    """What a solver says to threads that ask it one after the other; `leaving` others never ask."""
    solver = LockstepSolver(policy, Sampling(max_tokens=4), len(problems) + leaving)
    said: dict[str, list[str] | Exception] = {}

    def ask(problem: str) -> None:
        try:
            said[problem] = solver(Task(id="t", prompt=problem), 2)
        except RewardError as error:
            said[problem] = error

    threads = [threading.Thread(target=ask, args=(problem,)) for problem in problems]
    for thread in threads:
        thread.start()
        time.sleep(0.02)  # the next asks later
    for _ in range(leaving):
        assert not said
        solver.leave()
    for thread in threads:
        thread.join(timeout=10)
    return said


def test_a_solver_is_asked_in_one_batch_whatever_the_order() -> None:
    first, second = Watched(), Watched()
    said = solve(first, PROBLEMS)
    assert said == solve(second, PROBLEMS[::-1], leaving=1)
    assert first.batches == second.batches
    ((prompts, seeds),) = first.batches
    assert prompts == sorted(PROBLEMS * 2)
    assert len(set(seeds)) == 8
    assert said == {**said, **solve(Watched(), PROBLEMS[:1])}  # nor do the others change what one is told


def test_what_a_solver_cannot_read_is_an_error_of_that_question_alone() -> None:
    said = solve(Watched(), ("1+1=", "1" * 20))
    assert isinstance(said["1" * 20], RewardError)
    assert isinstance(said["1+1="], list)


def test_a_closed_solver_lets_everyone_go() -> None:
    solver = LockstepSolver(Watched(), Sampling(max_tokens=4), 2)
    said: list[Exception] = []

    def ask() -> None:
        try:
            solver(Task(id="t", prompt="1+1="), 1)
        except RewardError as error:
            said.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # the other episode never asks, nor leaves
    thread.start()
    time.sleep(0.02)
    solver.close()
    thread.join(timeout=10)
    ask()
    assert len(said) == 2


@pytest.mark.parametrize("order", [PROBLEMS, PROBLEMS[::-1]])
def test_a_policy_is_asked_in_one_batch_whatever_the_order(order: Sequence[str]) -> None:
    policy = Watched()

    async def play() -> list[Reply]:
        lockstep = Lockstep(policy, len(order))
        calls = (
            lockstep.sample([Message(Role.USER, problem)], Sampling(max_tokens=4, seed=len(problem)))
            for problem in order
        )
        return await asyncio.gather(*calls)

    replies = asyncio.run(play())
    ((prompts, _),) = policy.batches
    assert prompts == ["1+1=", "2+1=", "3+1=", "20+1="]
    assert [policy.tokenizer.decode(reply.prompt) for reply in replies] == list(order)
