"""The vLLM policy on a real engine. vLLM pins its own torch and warns a lot, so it has an environment of its own:
``make test-cluster`` makes it, with vLLM's CPU build, and runs this file there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import PolicyConfig, make_policy
from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Role

pytest.importorskip("vllm", reason="vllm is not installed; `make test-cluster` runs this in an environment of its own")


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Iterator[Any]:
    made = make_policy(PolicyConfig(policy="vllm", model=str(tiny_llama)))
    yield made
    asyncio.run(made.close())


def ask(policy: Any, texts: Sequence[str], seeds: Sequence[int], **sampling: Any) -> list[Any]:
    async def run() -> list[Any]:
        calls = [
            policy.sample([Message(Role.USER, text)], Sampling(max_tokens=24, seed=seed, **sampling))
            for text, seed in zip(texts, seeds, strict=True)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run())


def recomputed(folder: Path, reply: Reply) -> list[float]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[*reply.prompt, *reply.tokens]])
    with torch.no_grad():
        logprobs = model(ids).logits[0].float().log_softmax(-1)
    start = len(reply.prompt) - 1
    return [float(logprobs[start + i, token]) for i, token in enumerate(reply.tokens)]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.0}])
def test_tokens_and_logprobs_are_those_of_the_model(policy: Any, tiny_llama: Path, sampling: dict[str, float]) -> None:
    replies = ask(policy, ("abc", "what is this thing?", "q"), (1, 2, 3), **sampling)
    for reply in replies:
        assert len(reply.tokens) == len(reply.logprobs) > 0
        off = [abs(a - b) for a, b in zip(reply.logprobs, recomputed(tiny_llama, reply), strict=True)]
        assert sum(off) / len(off) < 0.1  # bfloat16 against float32; those of another token are off by far more
        assert reply.finished == (reply.tokens[-1] == 2)
        assert reply.usage.completion_tokens == len(reply.tokens) <= 24


def test_a_seed_repeats_itself(policy: Any) -> None:
    first, other, again = ask(policy, ("abc", "abc", "abc"), (7, 8, 7))
    assert first.tokens == again.tokens != other.tokens


def test_a_stop_string_is_no_part_of_the_reply(policy: Any) -> None:
    (whole,) = ask(policy, ("abc",), (0,), temperature=0.0)
    stop = whole.text[3:5]
    (cut,) = ask(policy, ("abc",), (0,), temperature=0.0, stop=(stop,))
    assert cut.text == whole.text[: whole.text.index(stop)]


def test_only_the_chat_that_does_not_fit_is_refused(policy: Any) -> None:
    short, too_long = ask(policy, ("a", "c" * 64), (0, 0))
    assert len(short.tokens) > 0
    assert isinstance(too_long, PolicyError)
    assert "does not fit the window of 64" in str(too_long)
