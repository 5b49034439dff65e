"""A policy over the bundled model: chats to tokens, tokens to the sampler, and back with their log-probabilities."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from stepgym.agents.batching import BatchingPolicy, Chat
from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Reply, Role
from stepgym.trainers.checkpoint import load_checkpoint
from stepgym.trainers.ending import Ending
from stepgym.trainers.model import Transformer
from stepgym.trainers.sampler import Completion, Request, sample
from stepgym.trainers.tokenizer import CharTokenizer


class LocalPolicy(BatchingPolicy):
    """Samples from a `Transformer` in this process.

    A chat is its messages one after the other; an assistant's message ends with the end token. There are no role
    tokens: the model reads a problem as it is written.
    """

    def __init__(
        self, model: Transformer, tokenizer: CharTokenizer, *, name: str = "local", max_batch: int = 256
    ) -> None:
        super().__init__(max_batch=max_batch)
        self.model, self.tokenizer = model, tokenizer
        self._name = name

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> list[Reply | PolicyError]:
        """One reply for each chat; an error for one that is empty, too long, or has letters the model does not know."""
        prompts = [self._prompt(chat) for chat in chats]
        requests = [
            Request(prompt, random.getrandbits(62) if seed is None else seed)
            for prompt, seed in zip(prompts, seeds, strict=True)
            if not isinstance(prompt, PolicyError)
        ]
        ending = Ending.at(sampling.stop, self.tokenizer)
        sampled: list[Completion] = []
        for start in range(0, len(requests), self.max_batch):
            part = requests[start : start + self.max_batch]
            sampled += sample(self.model, part, sampling, ending=ending)
        completions = iter(sampled)
        return [
            prompt if isinstance(prompt, PolicyError) else self._reply(prompt, next(completions), sampling)
            for prompt in prompts
        ]

    def encode(self, chat: Chat) -> tuple[int, ...]:
        """The tokens the model reads before it speaks. Raises `PolicyError` for letters outside its alphabet."""
        tokens: list[int] = []
        for message in chat:
            tokens += self.tokenizer.encode(message.content)
            if message.role is Role.ASSISTANT:
                tokens.append(self.tokenizer.end)
        return tuple(tokens)

    def _prompt(self, chat: Chat) -> tuple[int, ...] | PolicyError:
        try:
            prompt = self.encode(chat)
        except PolicyError as error:
            return error
        if not prompt:
            return PolicyError("the prompt is empty")
        context = self.model.config.context
        if len(prompt) >= context:
            return PolicyError(
                f"the prompt has {len(prompt)} tokens, which leaves no room for a reply within {context}"
            )
        return prompt

    def _reply(self, prompt: tuple[int, ...], completion: Completion, sampling: Sampling) -> Reply:
        text = self.tokenizer.decode(completion.tokens)
        return Reply(
            text=sampling.cut(text),
            prompt=prompt,
            tokens=completion.tokens,
            logprobs=completion.logprobs,
            finished=completion.finished,
        )


class CheckpointPolicy(LocalPolicy):
    """A `LocalPolicy` from a checkpoint: the file, or the folder of a training run."""

    def __init__(self, model: str | Path, *, device: str = "cpu", max_batch: int = 256, threads: int = 1) -> None:
        """`threads` is torch's number of CPU threads, which holds for the whole process.

        Raises `StoreError` if there is no such checkpoint, or it cannot be read.
        """
        torch.set_num_threads(threads)
        checkpoint = load_checkpoint(Path(model), device=device)
        name = f"local:{Path(model).as_posix()}"
        super().__init__(checkpoint.model, checkpoint.tokenizer, name=name, max_batch=max_batch)
