"""Sampling against HuggingFace `generate`, a training step against a bare PyTorch loop, and what rollouts add.

    python benchmarks/training.py

All on one CPU thread, with the bundled model at its default sizes. HuggingFace has a Llama of equal width, depth,
heads and number of parameters, with random weights; neither has an end token, so all replies are of full length.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stepgym.agents.policy import Sampling
from stepgym.trainers.batches import make_batches
from stepgym.trainers.config import ModelConfig, TrainConfig
from stepgym.trainers.ending import Ending
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.learner import Learner
from stepgym.trainers.local import LocalEngine
from stepgym.trainers.model import Transformer
from stepgym.trainers.sampler import Request, sample
from stepgym.trainers.samples import Sample
from stepgym.trainers.source import StepSource
from stepgym.trainers.tokenizer import CharTokenizer

BATCH, PROMPT, REPLY = 64, 10, 64
REPEATS = 5


def timed(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each, measured in turns so that a busy machine slows all alike. The first turn warms up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(REPEATS + 1):
        for function, mine in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                mine.append(time.perf_counter() - started)
    return [statistics.median(mine) for mine in seconds]


@dataclass(frozen=True, slots=True)
class Case:
    """A batch to sample: `batch` rows of `prompt` tokens, each prompt in `group` of them; replies of `reply` tokens."""

    batch: int
    prompt: int = PROMPT
    reply: int = REPLY
    group: int = 1


CASES = (Case(BATCH), Case(16), Case(256), Case(BATCH, prompt=48, reply=48, group=8))


def sampling() -> None:
    """Both samplers, every reply at full length: neither knows an end token."""
    vocabulary, config = len(CharTokenizer()), ModelConfig()
    model = Transformer.seeded(vocabulary, config, 0)
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.width,
            intermediate_size=8 * config.width // 3,  # three matrices instead of two: as many parameters
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context,
            eos_token_id=None,
        )
    ).eval()
    print("sampling, tokens/s                        ours  HuggingFace generate     ratio")
    for case in CASES:
        generator = torch.Generator().manual_seed(0)
        prompts = torch.randint(1, vocabulary, (case.batch // case.group, case.prompt), generator=generator)
        prompts = prompts.repeat_interleave(case.group, 0)
        requests = [Request(tuple(row), seed) for seed, row in enumerate(prompts.tolist())]
        ours = partial(sample, model, requests, Sampling(max_tokens=case.reply), ending=Ending(frozenset()))
        theirs = partial(
            llama.generate,
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            top_k=0,  # as ours: from the whole distribution
            max_new_tokens=case.reply,
            pad_token_id=0,
        )
        mine, other = timed(ours, theirs)
        tokens = case.batch * case.reply
        name = f"batch {case.batch}, {case.prompt} + {case.reply} tokens, groups of {case.group}"
        print(f"  {name:36} {tokens / mine:8,.0f} {tokens / other:21,.0f} {other / mine:9.1f}")
    print()


def learning() -> None:
    """One GRPO update over 256 samples of 70 tokens: ours begins with samples, the bare loop with finished tensors."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(CharTokenizer())
    rows = torch.randint(1, vocabulary, (256, PROMPT + 60), generator=generator)
    samples = [
        Sample(
            context=tuple(row[:PROMPT]),
            sampled_in=tuple(row[:PROMPT]),
            tokens=tuple(row[PROMPT:]),
            trained=(True,) * 60,
            logprobs=(-4.6,) * 60,
            rewards=(0.0,) * 60,
            advantages=(float(i % 2 * 2 - 1),) * 60,
        )
        for i, row in enumerate(rows.tolist())
    ]
    recipe, config = GRPO(), TrainConfig(recipe="grpo")
    learner = Learner(Transformer.seeded(vocabulary, ModelConfig(), 0), recipe, config)
    bare = Transformer.seeded(vocabulary, ModelConfig(), 0)
    optimiser = torch.optim.AdamW(bare.parameters(), lr=2e-4, weight_decay=0.0, fused=True)
    batches = make_batches(samples, recipe.normalise, max_tokens=config.batch_tokens)

    def loop() -> None:
        optimiser.zero_grad()
        for batch in batches:
            logprobs = bare(batch.tokens).flatten(0, 1)[batch.places].log_softmax(-1)
            chosen = logprobs.gather(1, batch.targets[:, None])[:, 0]
            ratio = (chosen - batch.old_logprobs).exp()
            surrogate = torch.minimum(ratio * batch.advantages, ratio.clamp(0.8, 1.28) * batch.advantages)
            (-(surrogate * batch.weights).sum()).backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimiser.step()

    mine, other = timed(lambda: learner.learn(samples, 1, last=1), loop)
    print("learning, one GRPO update, 256 samples of 70 tokens")
    print(f"  ours                   {mine * 1e3:8.1f} ms")
    print(f"  bare PyTorch loop      {other * 1e3:8.1f} ms")
    print(f"  ratio of time          {mine / other:8.2f}\n")


def whole_step() -> None:
    """Where the time of a GRPO step goes: 256 rollouts through the environment, then the update."""
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(TrainConfig(recipe="grpo", out=Path(folder), max_tokens=64), GRPO())
        tasks = StepSource(engine, 1).draw(32)
        chats = [engine.backbone.encode(task.prompt) for task in tasks for _ in range(8)]
        requests = [Request(tuple(chat), seed) for seed, chat in enumerate(chats)]

        def sample_only() -> object:
            return sample(engine.backbone.model, requests, Sampling(max_tokens=64))

        def play() -> object:
            return StepSource(engine, 1).play(tasks, 8)

        bare, played = timed(sample_only, play)
    print("256 rollouts of one step each, through the environment and the grader")
    print(f"  sampling alone         {bare * 1e3:8.1f} ms")
    print(f"  whole rollouts         {played * 1e3:8.1f} ms")
    print(f"  ratio of time          {played / bare:8.2f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)  # as the engine does
    sampling()
    learning()
    whole_step()
