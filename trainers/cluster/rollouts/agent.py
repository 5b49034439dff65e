"""Any stepgym environment as an agent of OpenRLHF: ``--train.agent_func_path`` points at this file.

Of use alone, with plain OpenRLHF and its own algorithms. Each label of its data set is a task, as in the lines of a
stepgym task file, and the environment variable ``STEPGYM_AGENT`` says what is played with it, such as ::

    STEPGYM_AGENT='{"env": "stepgym/SWE-v0", "settings": {"sandbox": "docker", "max_steps": 50}}'

(`AgentSettings` has all of it), and ``STEPGYM_EPISODES`` how many episodes a process plays at a time. What the model is
shown is the environment's observation in its chat template; the data set's prompts are not read.
"""

from __future__ import annotations

from typing import Any

from openrlhf.utils.agent import AgentExecutorBase

from stepgym.agents.policy import Sampling
from stepgym.trainers.cluster.rollouts.agent_settings import AgentSettings
from stepgym.trainers.cluster.rollouts.engine_policy import EnginePolicy, beside
from stepgym.trainers.cluster.rollouts.episodes import Episodes
from stepgym.trainers.cluster.rollouts.response import response


class AgentExecutor(AgentExecutorBase):
    """Plays one episode a call. OpenRLHF makes one of these in each rollout actor."""

    def __init__(self) -> None:
        self._settings = AgentSettings.of_process()
        self._episodes = Episodes()

    async def execute(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,  # noqa: ARG002 - OpenRLHF's signature; environments are text
    ) -> dict[str, Any]:
        """The episode of `label`, as `response` puts it. Replies are sampled as `sampling_params` say."""
        request = await beside(self._settings.request, label)
        policy = EnginePolicy(llm_engine, hf_tokenizer, context=max_length, top_k=max(0, sampling_params.top_k))
        sampling = Sampling(
            temperature=sampling_params.temperature,
            top_p=sampling_params.top_p,
            max_tokens=sampling_params.max_tokens or max_length,
            stop=request.stop,
            keep_stop=True,
        )
        trajectory = await self._episodes.play(request, policy, sampling=sampling)
        parts, logprobs = self._settings.parts, sampling_params.logprobs is not None
        return await beside(lambda: response(trajectory, prompt=prompt, label=label, parts=parts, logprobs=logprobs))
