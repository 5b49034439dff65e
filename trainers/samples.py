"""Trajectory to the token sequences that a trainer consumes. No torch.

Tokens are never written again from text: a sample is made of the ids that the policy recorded when it sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepgym.errors import ConfigError
from stepgym.records import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One token sequence to learn from: a context, and what follows it from the first sampled token on."""

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
    """log π of each of `tokens` when it was sampled; 0 where it was not."""
    advantage: float = 0.0
    """How much better than expected the trajectory was; every trained token gets it."""

    @property
    def length(self) -> int:
        """Tokens in all, as they are trained."""
        return len(self.context) + len(self.tokens)

    @property
    def trained_count(self) -> int:
        """Tokens that are learned from."""
        return sum(self.trained)


def to_samples(trajectory: Trajectory, *, advantage: float = 0.0) -> list[Sample]:
    """One sample while each prompt extends what came before; another whenever the history was rewritten.

    Raises `ConfigError` if its policy recorded no tokens.
    """
    samples: list[Sample] = []
    for step in trajectory.steps:
        reply = step.reply
        if not reply.prompt:
            raise ConfigError(
                f"{trajectory.agent or 'the policy'} records no tokens, so nothing can be learned from it"
            )
        sampled = (True,) * len(reply.tokens)
        last = samples[-1] if samples else None
        if last is not None and _extends(reply.prompt, last):
            added = reply.prompt[last.length :]
            samples[-1] = Sample(
                context=last.context,
                sampled_in=last.sampled_in,
                tokens=last.tokens + added + reply.tokens,
                trained=last.trained + (False,) * len(added) + sampled,
                logprobs=last.logprobs + (0.0,) * len(added) + reply.logprobs,
                advantage=advantage,
            )
        else:
            samples.append(
                Sample(
                    context=reply.prompt,
                    sampled_in=reply.prompt,
                    tokens=reply.tokens,
                    trained=sampled,
                    logprobs=reply.logprobs,
                    advantage=advantage,
                )
            )
    return [sample for sample in samples if sample.tokens]


def demonstration(context: Sequence[int], tokens: Sequence[int]) -> Sample:
    """A sample that nobody sampled: an expert's `tokens`, to be imitated."""
    return Sample(
        context=tuple(context),
        sampled_in=tuple(context),
        tokens=tuple(tokens),
        trained=(True,) * len(tokens),
        logprobs=(0.0,) * len(tokens),
    )


def _extends(prompt: tuple[int, ...], sample: Sample) -> bool:
    return prompt[: sample.length] == sample.context + sample.tokens
