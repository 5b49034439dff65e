"""Policies with an engine in this process, on a tiny model made on the spot."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import POLICIES, PolicyConfig, make_policy
from stepgym.agents.policy import Sampling
from stepgym.errors import ConfigError, PolicyError, UnknownNameError
from stepgym.records import Message, Reply, Role, Task

WINDOW = 64
"""Tokens that the `tiny_llama` fixture's model can read."""


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Any:
    return make_policy(PolicyConfig(policy="transformers", model=str(tiny_llama), device="cpu"))


def ask(policy: Any, *texts: str, seeds: list[int] | None = None, **sampling: Any) -> list[Any]:
    settings = {"max_tokens": 24, **sampling}

    async def run() -> list[Any]:
        calls = [
            policy.sample([Message(Role.USER, text)], Sampling(**settings, seed=seeds[i] if seeds else None))
            for i, text in enumerate(texts)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run())


def recomputed(policy: Any, reply: Reply) -> list[float]:
    """Log-probabilities by one plain forward pass over prompt and reply, no cache, no padding."""
    import torch

    ids = torch.tensor([[*reply.prompt, *reply.tokens]])
    with torch.no_grad():
        logprobs = policy._model(ids).logits[0].float().log_softmax(-1)
    start = len(reply.prompt) - 1
    return [float(logprobs[start + i, token]) for i, token in enumerate(reply.tokens)]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.8}])
def test_tokens_and_logprobs_are_exact_in_a_padded_batch(policy: Any, sampling: dict[str, float]) -> None:
    replies = ask(policy, "abc", "what is this thing?", "q", seeds=[1, 2, 3], **sampling)
    for text, reply in zip(("abc", "what is this thing?", "q"), replies, strict=True):
        assert reply.prompt == tuple(policy._tokenizer(text).input_ids)
        assert len(reply.tokens) == len(reply.logprobs) > 0
        assert list(reply.logprobs) == pytest.approx(recomputed(policy, reply), abs=1e-4)
        assert policy._tokenizer.decode(reply.tokens, skip_special_tokens=True) == reply.text
        assert reply.finished == (reply.tokens[-1] == 2)
        assert reply.usage.prompt_tokens == len(reply.prompt)
        assert reply.usage.completion_tokens == len(reply.tokens) <= 24


def test_greedy_is_the_likeliest_token_each_time(policy: Any) -> None:
    import torch

    (reply,) = ask(policy, "hello", temperature=0.0)
    ids = torch.tensor([[*reply.prompt, *reply.tokens]])
    with torch.no_grad():
        best = policy._model(ids).logits[0].argmax(-1)
    assert best[len(reply.prompt) - 1 : -1].tolist() == list(reply.tokens)


def test_a_seed_repeats_itself_whatever_the_batch(policy: Any) -> None:
    alone = ask(policy, "abc", seeds=[7])[0]
    among = ask(policy, "zzzzzzzzzz", "abc", "abc", seeds=[5, 7, 8])
    assert among[1].tokens == alone.tokens
    assert among[2].tokens != alone.tokens
    unseeded = ask(policy, *["abc"] * 4)
    assert len({reply.tokens for reply in unseeded}) > 1


def test_sampling_follows_the_model_and_not_its_defaults(policy: Any) -> None:
    import torch

    count = 3000
    policy.max_batch = count
    replies = ask(policy, *["abc"] * count, max_tokens=1, seeds=list(range(count)))
    policy.max_batch = 32
    with torch.no_grad():
        expected = policy._model(torch.tensor([replies[0].prompt])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([reply.tokens[0] for reply in replies]), minlength=len(expected))
    chi_squared = float(((counts - count * expected) ** 2 / (count * expected)).sum())
    assert chi_squared < 65  # 30 degrees of freedom: exceeded once in 4,000 draws; top_k=3 would be far off
    nucleus = ask(policy, *["abc"] * 200, max_tokens=1, top_p=0.3, seeds=list(range(200)))
    order = expected.argsort(descending=True)
    kept = order[: int((expected[order].cumsum(0) < 0.3).sum()) + 1].tolist()
    assert {reply.tokens[0] for reply in nucleus} == set(kept)


def test_a_stop_string_ends_the_row_and_is_cut_off(policy: Any) -> None:
    whole = ask(policy, "abc", "xyz", temperature=0.0)
    stop = whole[0].text[3:5]
    first, second = ask(policy, "abc", "xyz", temperature=0.0, stop=(stop,))
    assert first.finished
    assert first.text == whole[0].text[: whole[0].text.index(stop)]
    assert first.tokens == whole[0].tokens[: len(first.tokens)]
    assert len(first.tokens) < len(whole[0].tokens)
    assert second.text == whole[1].text.partition(stop)[0]


def test_the_window_is_respected_and_cuts_only_the_row_it_must(policy: Any) -> None:
    texts = ("a", "b" * (WINDOW - 4), "c" * WINDOW, "")
    short, long, too_long, empty = ask(policy, *texts, max_tokens=40, temperature=0.0)
    assert len(short.tokens) == 40 or short.finished
    assert len(long.tokens) <= 4
    assert isinstance(too_long, PolicyError)
    assert "64 tokens does not fit the window of 64" in str(too_long)
    assert isinstance(empty, PolicyError)


def test_a_chat_template_is_used_where_there_is_one(policy: Any) -> None:
    from stepgym.agents.chat_prompt import prompt_ids

    chat = [Message(Role.SYSTEM, "be good"), Message(Role.USER, "hi")]
    decode = policy._tokenizer.decode
    assert prompt_ids(policy._tokenizer, chat)[7] == 0  # the newline between, unknown to this tokenizer
    policy._tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}reply"
    assert decode(prompt_ids(policy._tokenizer, chat)) == "system be good user hi reply"
    policy._tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    (refused,) = ask(policy, "hi")
    policy._tokenizer.chat_template = None
    assert isinstance(refused, PolicyError)
    assert "template refuses the chat: no system role here" in str(refused)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(PolicyError, match="cannot load the model '/no/such/folder'"):
        make_policy(PolicyConfig(policy="transformers", model="/no/such/folder"))


def test_a_missing_dependency_names_the_extra() -> None:
    code = """
import sys
for name in ("httpx", "transformers", "vllm"):
    sys.modules[name] = None
import asyncio
from stepgym.agents import *
from stepgym.errors import MissingDependencyError
from stepgym.records import Message, Role
for name, extra in (("openai", "api"), ("transformers", "train"), ("vllm", "vllm")):
    try:
        policy = make_policy(PolicyConfig(policy=name, model="m"))
        asyncio.run(policy.sample([Message(Role.USER, "x")], Sampling()))
    except MissingDependencyError as error:
        assert f"stepgym[{extra}]" in str(error), error
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'openai'"):
        make_policy(PolicyConfig(policy="opneai"))
    with pytest.raises(ConfigError, match="'gold' has no setting 'base_url'"):
        make_policy(PolicyConfig(policy="gold", base_url="http://x"))
    with pytest.raises(ConfigError, match="'openai' needs the setting 'model'"):
        make_policy(PolicyConfig())
    made = make_policy(PolicyConfig(policy="gold"), tasks=[Task(id="1", prompt="p", answer="2")])
    assert asyncio.run(made.sample([Message(Role.USER, "p")], Sampling())).text == r"The answer is \boxed{2}."


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_in_the_table_has_the_contract(name: str) -> None:
    made = POLICIES.load(name)
    assert all(hasattr(made, member) for member in ("name", "sample", "close"))
