"""Trajectory to the token sequences that a trainer consumes. No torch.

Tokens are never written again from text: a sample is made of the ids that the policy recorded when it sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from stepgym.errors import ConfigError
from stepgym.records import Trajectory


class Term(StrEnum):
    """Which term of a loss a sample belongs to. Each term is a mean of its own."""

    POLICY = "policy"
    """Made likelier or less likely by its advantages."""
    DISTILLATION = "distillation"
    """The policy's own, sampled with help and found correct: imitated without it (A2D)."""
    IMITATION = "imitation"
    """An expert's: imitated."""
    REHEARSAL = "rehearsal"
    """Imitated besides whatever else is learned, so that it is not forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One token sequence to learn from: a context, and what follows it from the first sampled token on.

    What is said of each of `tokens` is 0 where the policy did not sample it.
    """

    context: tuple[int, ...]
    """The tokens it is *trained* in."""
    sampled_in: tuple[int, ...]
    """The tokens it was *sampled* in, which `logprobs` belong to. Differs from `context` where help was shown that the
    policy is to do without."""
    tokens: tuple[int, ...]
    """Sampled tokens, and between them those that the environment added in later turns."""
    trained: tuple[bool, ...]
    """Which of `tokens` the policy sampled; only these are learned from."""
    logprobs: tuple[float, ...]
    """log π of each of `tokens`, in `sampled_in`, when it was sampled."""
    rewards: tuple[float, ...]
    """What the environment gave for each of `tokens`: each step's reward stands at the last token of its reply."""
    advantages: tuple[float, ...]
    """How much better than expected each of `tokens` was."""
    returns: tuple[float, ...] = ()
    """What a critic should have foreseen at each of `tokens`; empty where there is no critic."""
    reference: tuple[float, ...] = ()
    """log π of each of `tokens` under the reference policy; empty where there is none."""
    term: Term = Term.POLICY
    weight: float = 1.0
    """How much it counts beside the others of its term."""

    @property
    def off_policy(self) -> bool:
        """Whether it is trained in another context than it was sampled in."""
        return self.context != self.sampled_in

    @property
    def length(self) -> int:
        """Tokens in all, as they are trained."""
        return len(self.context) + len(self.tokens)

    @property
    def trained_count(self) -> int:
        """Tokens that are learned from."""
        return sum(self.trained)

    def trained_in(self, context: Sequence[int]) -> Sample:
        """The same tokens, to be learned in another context; the log-probabilities stay those of `sampled_in`."""
        return replace(self, context=tuple(context))


def to_samples(trajectory: Trajectory, *, advantage: float = 0.0) -> list[Sample]:
    """One sample while each prompt extends what came before; another whenever the history was rewritten.

    Every sampled token gets the `advantage`. What an empty reply earned is added to the token sampled before it. Raises
    `ConfigError` if its policy recorded no tokens.
    """
    samples: list[Sample] = []
    for step in trajectory.steps:
        reply = step.reply
        if not reply.prompt:
            raise ConfigError(
                f"{trajectory.agent or 'the policy'} records no tokens, so nothing can be learned from it"
            )
        if not reply.tokens:
            samples[-1:] = [_credited(sample, step.score.value) for sample in samples[-1:]]
            continue
        last = samples[-1] if samples else None
        if last is not None and _extends(reply.prompt, last):
            before, samples[-1:] = last, []
        else:
            before = _nothing_yet(reply.prompt)
        added = reply.prompt[before.length :]
        gap = (0.0,) * len(added)
        samples.append(
            replace(
                before,
                tokens=before.tokens + added + reply.tokens,
                trained=before.trained + (False,) * len(added) + (True,) * len(reply.tokens),
                logprobs=before.logprobs + gap + reply.logprobs,
                rewards=before.rewards + gap + (0.0,) * (len(reply.tokens) - 1) + (step.score.value,),
                advantages=before.advantages + gap + (advantage,) * len(reply.tokens),
            )
        )
    return samples


def demonstration(context: Sequence[int], tokens: Sequence[int], *, term: Term = Term.IMITATION) -> Sample:
    """A sample that nobody sampled: an expert's `tokens`, to be imitated."""
    zeros = (0.0,) * len(tokens)
    return Sample(
        context=tuple(context),
        sampled_in=tuple(context),
        tokens=tuple(tokens),
        trained=(True,) * len(tokens),
        logprobs=zeros,
        rewards=zeros,
        advantages=zeros,
        term=term,
    )


def _nothing_yet(prompt: tuple[int, ...]) -> Sample:
    return Sample(context=prompt, sampled_in=prompt, tokens=(), trained=(), logprobs=(), rewards=(), advantages=())


def _credited(sample: Sample, reward: float) -> Sample:
    return replace(sample, rewards=(*sample.rewards[:-1], sample.rewards[-1] + reward))


def _extends(prompt: tuple[int, ...], sample: Sample) -> bool:
    return prompt[: sample.length] == sample.context + sample.tokens
