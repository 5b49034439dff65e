"""Reads the body of a chat completion, which may be anything at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stepgym.records import Reply, Usage

MOST_TOKENS = 2**40
"""A count above it is no count."""


class GarbageError(ValueError):
    """The body is not a chat completion; the message says what is wrong with it."""


def parse_completion(body: bytes) -> Reply:
    """The first choice of a chat completion, with its token counts. Raises `GarbageError`.

    Token ids come from the fields vLLM's server adds on request (``return_token_ids``), and log-probabilities from the
    standard ones; unless there is exactly one for each token, neither is kept.
    """
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GarbageError(f"not JSON but {_shown(body)}") from error
    try:
        choice = page["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise GarbageError(f"JSON without choices[0].message.content: {_shown(body)}") from error
    if text is not None and not isinstance(text, str):  # a reply that is all reasoning has null
        raise GarbageError(f"choices[0].message.content is {type(text).__name__}, not text")
    prompt, tokens, logprobs = (
        _integers(page.get("prompt_token_ids")),
        _integers(choice.get("token_ids")),
        _logprobs(choice),
    )
    exact = bool(prompt) and len(tokens) == len(logprobs)
    return Reply(
        text=text or "",
        prompt=prompt if exact else (),
        tokens=tokens if exact else (),
        logprobs=logprobs if exact else (),
        finished=choice.get("finish_reason") != "length",
        usage=_usage(page.get("usage")),
    )


def _usage(value: Any) -> Usage:
    counts = value if isinstance(value, Mapping) else {}
    return Usage(_count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0


def _integers(value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list) and all(type(item) is int for item in value)
    return tuple(value) if fits else ()


def _logprobs(choice: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        return tuple(float(item["logprob"]) for item in choice["logprobs"]["content"])
    except (KeyError, TypeError, ValueError):
        return ()


def _shown(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace")) if body else "nothing"
