"""OpenRLHF's rollout actor, with episodes of stepgym's environments played around its engine."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

from openrlhf.trainer.ray.vllm_engine import RolloutRayActor

from stepgym.agents.policy import Sampling
from stepgym.agents.rollout import start_threads
from stepgym.agents.seeding import content_seed
from stepgym.errors import ConfigError
from stepgym.records import Message, Role
from stepgym.trainers.cluster.plain import plain
from stepgym.trainers.cluster.rollouts.engine_policy import EnginePolicy, beside
from stepgym.trainers.cluster.rollouts.engine_solver import cluster_solver
from stepgym.trainers.cluster.rollouts.episodes import Episodes, InTurn
from stepgym.trainers.cluster.rollouts.packing import Packed
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest

SWITCH = 0.001
"""Seconds that a thread computes before another has its turn: the event loop may have to wait for several."""


class RolloutActor(plain(RolloutRayActor)):  # type: ignore[misc]
    """One vLLM engine and the episodes that are played with it, or with it as the frozen solver of others' episodes.

    It reads chats with the tokenizer of its engine. One that comes with a call is used instead, but is then unpickled
    with each call, which stops everything in this process meanwhile: leave it out.
    """

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        """As OpenRLHF's."""
        os.environ.setdefault("VLLM_V1_OUTPUT_PROC_CHUNK_SIZE", "32")  # replies that it attends to without a pause
        await super().__init__(*args, **({"disable_log_stats": True} | kwargs))  # nobody reads vLLM's own statistics
        sys.setswitchinterval(SWITCH)
        start_threads()
        self._episodes, self._requests = Episodes(), InTurn()
        gc.collect()
        gc.freeze()  # what is loaded stays; looking through all of it for garbage would take half a second each time

    async def use_solver(self, solver_engines: Sequence[Any], url: str = "", max_tokens: int = 2048) -> None:
        """Environments that take a solver get that of `url` if given, else of `solver_engines`: actors like this one.

        Raises `PolicyError` where nobody answers at `url`.
        """
        self._episodes.solver = await cluster_solver(solver_engines, url, max_tokens=max_tokens)

    async def solve(self, prompt: str, tries: int, max_tokens: int) -> list[str]:
        """`tries` solutions, the same for the same arguments. Raises `PolicyError` for a prompt that does not fit."""
        chat = [Message(Role.USER, prompt)]
        samplings = [Sampling(max_tokens=max_tokens, seed=content_seed(0, prompt, i)) for i in range(tries)]
        replies = await asyncio.gather(*(self._policy().sample(chat, sampling) for sampling in samplings))
        return [reply.text for reply in replies]

    async def generate(self, prompt_token_ids: list[int], sampling_params: Any, multi_modal_data: Any = None) -> Any:
        """As OpenRLHF's."""
        await self._requests.mine()
        return await super().generate(prompt_token_ids, sampling_params, multi_modal_data)

    async def generate_responses(
        self,
        prompt: str,  # noqa: ARG002 - the environment says what is shown
        label: str,
        sampling_params: Any = None,  # noqa: ARG002 - the request says it
        max_length: int | None = None,
        hf_tokenizer: Any = None,
        num_samples: int = 1,
        images: Any = None,  # noqa: ARG002 - environments are text
    ) -> list[dict[str, Any]]:
        """The ``trajectory`` of each of `num_samples` episodes of the `EpisodeRequest` in `label`.

        Raises `ConfigError` for a request that cannot be read or played, and `TaskError`. A bug in an environment
        escapes, and ends the other episodes of the group.
        """
        request = await beside(EpisodeRequest.from_json, label)
        if request.seeds and len(request.seeds) != num_samples:
            raise ConfigError(f"{num_samples} episodes need as many seeds, not {len(request.seeds)}")

        async def play(seed: int | None) -> dict[str, Any]:
            policy = self._policy(hf_tokenizer, max_length)
            return {"trajectory": await beside(Packed, await self._episodes.play(request, policy, seed=seed))}

        try:
            async with asyncio.TaskGroup() as group:
                played = [group.create_task(play(seed)) for seed in request.seeds or (None,) * num_samples]
        except ExceptionGroup as problems:
            raise problems.exceptions[0] from None  # the others are the same: it is one task in one environment
        return [one.result() for one in played]

    def _policy(self, tokenizer: Any = None, context: int | None = None) -> EnginePolicy:
        window = self.llm.model_config.max_model_len
        return EnginePolicy(self, tokenizer or self.llm.get_tokenizer(), context=min(context or window, window))
