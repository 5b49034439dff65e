"""vLLM in this process: the offline engine. Its server is an OpenAI-compatible endpoint: use that policy for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgym.agents.batching import BatchingPolicy, Chat
from stepgym.agents.chat_prompt import prompt_ids
from stepgym.agents.policy import Sampling
from stepgym.errors import MissingDependencyError, PolicyError
from stepgym.records import Reply


class VLLMPolicy(BatchingPolicy):
    """A model from a folder or the hub, run by vLLM on the GPUs of this machine. Needs the extra ``vllm``.

    `Reply.logprobs` are those of the model itself (temperature 1, no truncation), vLLM's default.
    """

    def __init__(self, model: str, *, max_batch: int = 256, gpus: int = 1, memory: float = 0.9) -> None:
        """The model is split over `gpus`; vLLM takes the fraction `memory` of each."""
        super().__init__(max_batch=max_batch)
        try:
            from vllm import LLM
        except ImportError as error:
            raise MissingDependencyError("the vllm policy needs vLLM: pip install 'stepgym[vllm]'") from error
        self.model = model
        try:
            self._engine = LLM(model=model, tensor_parallel_size=gpus, gpu_memory_utilization=memory)
        except (OSError, ValueError, RuntimeError) as error:
            raise PolicyError(f"vLLM cannot load the model {model!r}: {error}") from error
        self._tokenizer = self._engine.get_tokenizer()
        self._window: int = self._engine.llm_engine.model_config.max_model_len

    @property
    def name(self) -> str:
        """``vllm:`` and the model."""
        return f"vllm:{self.model}"

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        """One call of the engine, which schedules the rows itself."""
        prompts = [prompt_ids(self._tokenizer, chat) for chat in chats]
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt) < self._window]
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(prompts[i])} for i in fitting],
            [self._settings(sampling, seeds[i], room=self._window - len(prompts[i])) for i in fitting],
            use_tqdm=False,
        )
        made = {i: _reply(prompts[i], output.outputs[0]) for i, output in zip(fitting, outputs, strict=True)}
        too_long = PolicyError(f"a prompt does not fit the window of {self._window} tokens")
        return [made.get(i, too_long) for i in range(len(chats))]

    def _settings(self, sampling: Sampling, seed: int | None, *, room: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_tokens, room),
            stop=list(sampling.stop),
            include_stop_str_in_output=sampling.keep_stop,
            seed=seed,
            logprobs=0,  # of the sampled token alone
        )


def _reply(prompt: tuple[int, ...], output: Any) -> Reply:
    tokens = tuple(output.token_ids)
    logprobs = tuple(row[token].logprob for token, row in zip(tokens, output.logprobs, strict=True))
    finished = output.finish_reason != "length"
    return Reply(text=output.text, prompt=prompt, tokens=tokens, logprobs=logprobs, finished=finished)
