"""HuggingFace transformers in this process, on CPU or GPU: any causal model, exact tokens and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepgym.agents.batching import BatchingPolicy, Chat
from stepgym.agents.chat_prompt import prompt_ids
from stepgym.agents.policy import Sampling
from stepgym.errors import MissingDependencyError, PolicyError
from stepgym.records import Reply


class HuggingFacePolicy(BatchingPolicy):
    """Samples from a causal language model with its tokenizer, both loaded already.

    `Reply.logprobs` are those of the model itself (temperature 1, no truncation), whatever the sampling settings:
    what vLLM reports, and what a policy-gradient ratio needs. With a seed, a row repeats itself whatever it shares its
    batch with, up to the rounding of batched matrix products.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, max_batch: int = 32) -> None:
        """`model` is one of transformers' causal models. Its generation settings are replaced by plain ones."""
        from transformers import GenerationConfig

        super().__init__(max_batch=max_batch)
        self._model, self._tokenizer, self._name = model.eval(), tokenizer, name
        self._ends = end_tokens(model, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self._ends or [0])[0]
        # The model's own defaults (a repetition penalty, say) would change the distribution behind our back.
        model.generation_config = GenerationConfig(eos_token_id=self._ends or None, pad_token_id=self._pad)

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def encode(self, chat: Chat) -> tuple[int, ...]:
        """The tokens the model reads before it speaks. Raises `PolicyError` for a chat that its template refuses."""
        return prompt_ids(self._tokenizer, chat)

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        """Rows that could outgrow the model's window are sampled alone, so that they cut nobody else off."""
        window = getattr(self._model.config, "max_position_embeddings", None) or 2**31
        prompts = [self.encode(chat) for chat in chats]
        replies: dict[int, Reply | PolicyError] = {}
        together: list[int] = []
        alone: list[list[int]] = []
        for i, prompt in enumerate(prompts):
            if not 0 < len(prompt) < window:
                replies[i] = PolicyError(f"a prompt of {len(prompt)} tokens does not fit the window of {window}")
            elif len(prompt) + sampling.max_tokens <= window:
                together.append(i)
            else:
                alone.append([i])
        parts = [together[start : start + self.max_batch] for start in range(0, len(together), self.max_batch)]
        for rows in [*parts, *alone]:
            limit = min(sampling.max_tokens, window - max(len(prompts[i]) for i in rows))
            made = self._generate([prompts[i] for i in rows], sampling, limit, [seeds[i] for i in rows])
            replies.update(zip(rows, made, strict=True))
        return [replies[i] for i in range(len(chats))]

    def _generate(
        self, prompts: Sequence[tuple[int, ...]], sampling: Sampling, limit: int, seeds: Sequence[int | None]
    ) -> list[Reply]:
        import torch

        from stepgym.trainers.row_sampler import RowSampler

        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(row)) + list(row) for row in prompts], device=self._model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=self._model.device)
        rows = RowSampler(
            sampling, seeds, ends=self._ends, decode=self._tokenizer.decode, interrupted=lambda: self.closing
        )
        try:
            with torch.inference_mode():
                self._model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=limit,
                    do_sample=False,
                    logits_processor=[rows.choose],
                    stopping_criteria=[rows.ended],
                )
        except torch.cuda.OutOfMemoryError as error:
            raise PolicyError(f"out of memory with {len(prompts)} rows of up to {width + limit} tokens") from error
        return [
            Reply(
                text=sampling.cut(self._tokenizer.decode(tokens, skip_special_tokens=True)),
                prompt=prompt,
                tokens=tuple(tokens),
                logprobs=tuple(logprobs),
                finished=ended,
            )
            for prompt, tokens, logprobs, ended in zip(
                prompts, rows.tokens_B_T, rows.logprobs_B_T, rows.ended_B, strict=True
            )
        ]


class TransformersPolicy(HuggingFacePolicy):
    """A causal language model from a folder or the hub. Needs the extra ``train``."""

    def __init__(self, model: str, *, device: str = "auto", dtype: str = "auto", max_batch: int = 32) -> None:
        """`device` auto is the first GPU if there is one. Raises `PolicyError` if the model cannot be loaded."""
        loaded = load_pretrained(model, device=device, dtype=dtype)
        super().__init__(loaded.model, loaded.tokenizer, name=f"transformers:{model}", max_batch=max_batch)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Objects of transformers that belong together."""

    model: Any
    tokenizer: Any


def load_pretrained(model: str, *, device: str = "auto", dtype: str = "auto") -> Pretrained:
    """A causal model and its tokenizer, from a folder or the hub. Code that comes with a model is not run.

    Raises `PolicyError` if it cannot be loaded, and `MissingDependencyError` without transformers.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError("transformers models need more: pip install 'stepgym[train]'") from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        return Pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device), tokenizer)
    except (OSError, ValueError, RuntimeError) as error:
        raise PolicyError(f"cannot load the model {model!r}: {str(error).partition(chr(10))[0]}") from error


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """What ends a reply: the tokenizer's end token, and those the model declares (chat models have several)."""
    declared = model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({token for token in (*ids, tokenizer.eos_token_id) if token is not None})
