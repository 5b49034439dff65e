"""The OpenAI-compatible policy against a real HTTP server that does everything wrong."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.endpoint import OpenAIPolicy
from stepgym.agents.policy import Sampling
from stepgym.agents.retrying import Backoff, parse_retry_after
from stepgym.errors import ConfigError, PolicyError
from stepgym.records import Message, Reply, Role

SERVER = Path(__file__).with_name("endpoint_server.py")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.kill()


def ask(base_url: str, model: str, text: str = "hello", **settings: Any) -> Reply:
    sampling = settings.pop("sampling", Sampling())

    async def run() -> Reply:
        policy = OpenAIPolicy(model, base_url=base_url, **{"backoff": 0.01, "retries": 3, **settings})
        try:
            return await policy.sample([Message(Role.USER, text)], sampling)
        finally:
            await policy.close()
            await policy.close()

    return asyncio.run(run())


def stats(base_url: str) -> dict[str, Any]:
    with urllib.request.urlopen(base_url) as response:
        return dict(json.load(response))


def test_a_reply_carries_text_counts_cost_and_time(base_url: str) -> None:
    reply = ask(base_url, "echo", "2 < 3 \ud800 é", prompt_price=3.0, completion_price=6.0)
    assert reply.text == "2 < 3 \ud800 é"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (10, 5)
    assert reply.usage.dollars == pytest.approx((10 * 3 + 5 * 6) / 1e6)
    assert 0 < reply.usage.seconds < 5
    assert reply.finished
    assert reply.tokens == ()


def test_the_request_says_how_to_sample(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    sampling = Sampling(temperature=0.25, top_p=0.5, max_tokens=7, stop=("</s>",), seed=11)
    ask(
        base_url,
        "echo",
        sampling=sampling,
        api_key_env="MY_KEY",
        extra={"max_tokens": None, "max_completion_tokens": 7},
    )
    seen = stats(base_url)
    assert seen["authorization"] == "Bearer secret"
    assert seen["body"] == {
        "model": "echo",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.25,
        "top_p": 0.5,
        "max_completion_tokens": 7,
        "stop": ["</s>"],
        "seed": 11,
    }


def test_retry_after_is_honoured(base_url: str) -> None:
    reply = ask(base_url, "limited")
    assert reply.text == "hello"
    assert stats(base_url)["requests"]["limited"] == 3
    assert reply.usage.seconds >= 0.6  # twice 0.3 s, although our own backoff is 0.01 s


def test_what_may_pass_is_tried_again(base_url: str) -> None:
    assert ask(base_url, "broken-twice").text == "hello"
    assert stats(base_url)["requests"]["broken-twice"] == 3


@pytest.mark.parametrize(
    ("model", "says", "tries"),
    [
        ("broken", "gave up after 4 attempts: HTTP 503: '<html>no healthy upstream", 4),
        ("garbage", "not JSON but '<!doctype html>", 4),
        ("deep", "not JSON but", 4),
        ("number", "content is int, not text", 4),
        ("empty", "JSON without choices", 4),
        ("hangs-up", "gave up after 4 attempts: RemoteProtocolError", 4),
        ("refused", "HTTP 400: .*no such thing", 1),
        ("locked", "HTTP 401.*environment variable OPENAI_API_KEY", 1),
        ("patience", "gave up after 1 attempts: HTTP 429", 1),
        ("endless", "more than 1000000 bytes", 4),
    ],
)
def test_what_does_not_pass_is_one_sentence(base_url: str, model: str, says: str, tries: int) -> None:
    with pytest.raises(PolicyError, match=says) as caught:
        ask(base_url, model, max_bytes=1_000_000)
    assert str(caught.value).startswith(f"{base_url} (model '{model}'): ")
    assert "\n" not in str(caught.value)
    assert stats(base_url)["requests"][model] == tries


@pytest.mark.parametrize("model", ["hangs", "drips"])
def test_a_hang_is_bounded(base_url: str, model: str) -> None:
    started = time.monotonic()
    with pytest.raises(PolicyError, match=r"gave up after 2 attempts: no complete answer within 0.3 s"):
        ask(base_url, model, timeout=0.3, retries=1)
    assert time.monotonic() - started < 3


def test_nobody_there_is_found_out_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(PolicyError, match="cannot connect"):
        ask("http://127.0.0.1:9/v1", "echo", backoff=30.0)
    assert time.monotonic() - started < 3


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="looks like http://localhost:8000/v1"):
        OpenAIPolicy("m", base_url="localhost:8000")
    with pytest.raises(PolicyError):
        ask("http://[half/v1", "echo")


def test_a_reply_cut_in_its_thoughts_is_empty_and_unfinished(base_url: str) -> None:
    reply = ask(base_url, "null")
    assert (reply.text, reply.finished) == ("", False)


def test_exact_tokens_where_the_server_gives_them(base_url: str) -> None:
    reply = ask(base_url, "tokens", record_tokens=True)
    assert (reply.prompt, reply.tokens, reply.logprobs) == ((1, 9), (5, 6, 2), (-0.5, -0.25, -1.0))
    assert stats(base_url)["body"]["return_token_ids"] is True


def test_at_most_so_many_requests_are_under_way(base_url: str) -> None:
    policy = OpenAIPolicy("slow:gate", base_url=base_url, concurrency=3)

    async def run() -> None:
        replies = [policy.sample([Message(Role.USER, "x")], Sampling()) for _ in range(12)]
        await asyncio.gather(*replies)
        await policy.close()

    asyncio.run(run())
    assert stats(base_url)["requests"]["slow:gate"] == 12
    assert stats(base_url)["most"]["slow:gate"] == 3
    asyncio.run(run())  # one policy, another event loop


def test_waits_grow_and_never_undercut_what_was_asked() -> None:
    backoff = Backoff(first=1.0, longest=10.0)
    for retry, most in enumerate([1, 2, 4, 8, 10, 10]):
        waits = [backoff.wait(retry, None) for _ in range(200)]
        assert most / 2 <= min(waits) < max(waits) <= most
    assert backoff.wait(0, 7.0) == 7.0


def test_retry_after_is_a_number_or_a_date() -> None:
    assert parse_retry_after("1.5") == 1.5
    assert parse_retry_after("-3") == 0
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (parse_retry_after("Fri, 31 Dec 2999 23:59:59 GMT") or 0) > 1e9
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_counts_that_are_none_are_not_counted(base_url: str) -> None:
    reply = ask(base_url, "miscounts", completion_price=1.0)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.dollars) == (0, 0, 0)


def test_an_endpoint_that_has_moved_says_where_to(base_url: str) -> None:
    with pytest.raises(PolicyError, match=r"HTTP 308.*points to 'https://elsewhere\.invalid/v1'"):
        ask(base_url, "moved")
    assert stats(base_url)["requests"]["moved"] == 1


def test_an_address_without_a_host_is_not_tried_again() -> None:
    with pytest.raises(PolicyError, match="no address of an endpoint"):
        ask("http://", "echo", retries=50, backoff=60.0)


@pytest.mark.parametrize("settings", [{"timeout": 0.0}, {"timeout": -1.0}, {"retries": -1}, {"concurrency": 0}])
def test_budgets_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="timeout must be positive, retries not negative and concurrency at least 1"):
        OpenAIPolicy("echo", **settings)


@pytest.mark.parametrize(
    "settings", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.5}, {"max_tokens": 0}]
)
def test_sampling_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="temperature must not be negative, top_p lie above 0 and up to 1"):
        Sampling(**settings)
