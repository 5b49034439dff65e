"""What recipes work on: a task with everything, and samples of every kind, of random tokens but a model's numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from stepgym.records import Task
from stepgym.trainers.samples import Sample, Term, demonstration

FULL = Task(
    id="full",
    prompt="1+1=",
    answer="2",
    steps=("1. **Add** 1+1", "2. **Answer** \\boxed{2}"),
    hint="two ones",
    subquestions=("1+1",),
)
"""A task with all that a recipe may ask for."""


class Scoring(Protocol):
    """Says log π of each of a sample's tokens; 0 where it is not trained."""

    def __call__(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]: ...


SETTINGS = {
    "sft": (),
    "grpo": ("kl=0.05",),
    "ppo": ("kl=0.05",),
    "srl": (),
    "holistic": (),
    "guide-grpo": ("kl=0.02",),
    "guide-ppo": (),
    "a2d-decomposer": ("kl=0.1",),
    "a2d-reasoner": ("kl=0.05",),
}
"""Of each recipe, with the divergence from a reference where its samples have one."""


def material(recipe: str, scoring: Scoring, *, count: int = 9, seed: int = 0) -> list[Sample]:
    """`count` samples of the policy (or of an expert), those that are the recipe's own, and rehearsal.

    Old log-probabilities are those of `scoring`, and off by some tenths, so that ratios are cut at both ends.
    """
    rng = random.Random(f"{recipe}/{seed}")
    if recipe == "sft":
        own = [demonstration(tokens(rng, 3, 30), tokens(rng, 2, 40)) for _ in range(count)]
    else:
        own = [attempt(rng, turns=1 + i % 3) for i in range(count)]
    if recipe.startswith("guide"):
        own += [helped(rng, Term.POLICY) for _ in range(count // 3)]
    if recipe == "a2d-reasoner":
        own += [replace(helped(rng, Term.DISTILLATION), weight=0.2 + 0.3 * i) for i in range(count // 3)]
    shown = [demonstration(tokens(rng, 3, 30), tokens(rng, 2, 20), term=Term.REHEARSAL) for _ in range(2)]
    samples = [*own, *(replace(sample, weight=0.3) for sample in shown)]
    rng.shuffle(samples)
    return [near(rng, sample, scored) for sample, scored in zip(samples, scoring(samples), strict=True)]


def tokens(rng: random.Random, least: int, most: int) -> tuple[int, ...]:
    """Of the bytes of the small Qwen."""
    return tuple(rng.randrange(3, 259) for _ in range(rng.randint(least, most)))


def attempt(rng: random.Random, *, turns: int) -> Sample:
    """Replies, with what the environment said between them."""
    context, parts = tokens(rng, 3, 30), []
    for turn in range(turns):
        if turn:
            parts.append((tokens(rng, 2, 9), False))
        parts.append((tokens(rng, 1, 25), True))
    whole = tuple(token for part, _ in parts for token in part)
    trained = tuple(sampled for part, sampled in parts for _ in part)
    return Sample(
        context=context,
        sampled_in=context,
        tokens=whole,
        trained=trained,
        logprobs=(),
        rewards=tuple(rng.random() * kept for kept in trained),
        advantages=tuple(rng.gauss(0, 1) * kept for kept in trained),
        returns=tuple(rng.gauss(0.5, 0.5) * kept for kept in trained),
    )


def helped(rng: random.Random, term: Term) -> Sample:
    """A reply to a context with help, to be learned without it."""
    sampled = attempt(rng, turns=1)
    return replace(sampled, sampled_in=tokens(rng, 10, 20) + sampled.context, term=term)


def near(rng: random.Random, sample: Sample, scored: Sequence[float]) -> Sample:
    """Old and reference log-probabilities that differ from those of the model as it is."""
    if sample.term in (Term.IMITATION, Term.REHEARSAL):
        return sample
    kept = sample.trained
    return replace(
        sample,
        logprobs=tuple((score + rng.gauss(0, 0.2)) * at for score, at in zip(scored, kept, strict=True)),
        reference=tuple((score + rng.gauss(0, 0.1)) * at for score, at in zip(scored, kept, strict=True)),
    )
