"""The model of a rollout actor as a policy: tokens in, tokens out, with their log-probabilities."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Message, Reply, Usage
from stepgym.trainers.cluster.rollouts.chat_tokens import Conversation

T = TypeVar("T")

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="stepgym-tokens")
"""Chats and replies of any length are read here, so that the event loop, which serves every episode, goes on."""


async def beside(function: Callable[..., T], *arguments: Any) -> T:
    """The result of `function`, which computes for a while and waits for nothing, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


class EnginePolicy:
    """Samples the one chat of one episode: what was sampled keeps its tokens (`Conversation`).

    `Reply.logprobs` are those that the engine reports; OpenRLHF has it report them as they were sampled from, with
    the temperature. `Sampling.seed` and the strings of `Sampling.stop` are the engine's own affair.
    """

    name = "openrlhf"

    def __init__(self, engine: Any, tokenizer: Any, *, context: int, top_k: int = 0) -> None:
        """`engine` has OpenRLHF's ``generate(prompt_token_ids, sampling_params)``; `context` is the model's window.

        Of the likeliest `top_k` tokens one is sampled; 0 is all.
        """
        self._engine, self._tokenizer, self._context, self._top_k = engine, tokenizer, context, top_k
        self._conversation = Conversation(tokenizer)

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The next reply, of no more tokens than there is room for.

        Raises `PolicyError` for a chat that leaves no room, that the template refuses, or that the engine does.
        """
        started = time.perf_counter()
        prompt = await beside(self._conversation.prompt, tuple(messages))
        room = self._context - len(prompt)
        if room < 1:
            raise PolicyError(f"a prompt of {len(prompt)} tokens does not fit the window of {self._context}")
        from vllm.exceptions import VLLMClientError

        try:
            output = await self._engine.generate(list(prompt), self._settings(sampling, room))
        except (VLLMClientError, ValueError) as error:
            raise PolicyError(f"the engine refuses the request: {error}") from error
        return await beside(self._read, prompt, output.outputs[0], started, bool(sampling.stop))

    async def close(self) -> None:
        """Nothing to free: the engine belongs to the actor."""

    def _settings(self, sampling: Sampling, room: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=self._top_k,
            max_tokens=min(sampling.max_tokens, room),
            min_tokens=0,  # at 1 no reply could begin with its end, and the probabilities would not be the policy's
            stop=list(sampling.stop),
            include_stop_str_in_output=sampling.keep_stop,
            seed=sampling.seed,
            logprobs=0,  # of the sampled token alone
            # vLLM does the rest in the event loop, for every token: no text where nothing waits for one, no object for
            # each probability, and nothing handed on before the end.
            detokenize=bool(sampling.stop),
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _read(self, prompt: tuple[int, ...], output: Any, started: float, stop: bool) -> Reply:
        tokens = tuple(output.token_ids)
        reply = Reply(
            text=output.text if stop else self._tokenizer.decode(tokens, skip_special_tokens=True),
            prompt=prompt,
            tokens=tokens,
            logprobs=tuple(output.logprobs.logprobs),
            finished=output.finish_reason != "length",
            usage=Usage(len(prompt), len(tokens), time.perf_counter() - started),
        )
        # A stop string may end within a token and is text of the reply; an end token is the template's to write.
        ended = output.finish_reason == "stop" and not isinstance(output.stop_reason, str)
        self._conversation.replied(reply, ended=ended)
        return reply
