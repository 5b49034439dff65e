"""Losses and advantages, as pure functions of tensors.

Losses take one number for each trained token, in any shape, here written (N): padding and prompts are not among them.
`weights` (N) says how much each token counts, so a loss is a weighted sum and a batch split into parts has the same
gradient as the whole, if `token_weights` was computed for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Normalise(StrEnum):
    """What a mean over sampled tokens is taken over."""

    TOKEN = "token"
    """All tokens of the batch alike: 1 / Σ_i |o_i|. DAPO (Yu et al. 2025, arXiv 2503.14476, equation 8)."""
    SEQUENCE = "sequence"
    """Each sequence alike: 1 / (B |o_i|). GRPO (Shao et al. 2024, arXiv 2402.03300, equation 3)."""


def token_weights(lengths_B: Tensor, normalise: Normalise) -> Tensor:
    """(B): what one token of each sequence counts, for sequences with `lengths_B` trained tokens. In all they count 1.

    A sequence without trained tokens counts nothing, and is not one of the B.
    """
    lengths = lengths_B.double()
    if normalise is Normalise.TOKEN:
        return torch.where(lengths > 0, 1 / lengths.sum(), 0.0)
    return torch.where(lengths > 0, 1 / (lengths * (lengths > 0).sum()), 0.0)


def group_advantages(rewards_G: Tensor, *, scale: bool = True, epsilon: float = 1e-6) -> Tensor:
    """(..., G): how much better each reward is than its group's mean, in standard deviations if `scale`.

        A_i = (R_i - mean(R)) / (std(R) + ε)

    GRPO (arXiv 2402.03300, section 4.1.2), with the unbiased standard deviation; without `scale`, Dr. GRPO (Liu et al.
    2025, arXiv 2503.20783). A reward of NaN (not graded) is left out of both and has the advantage 0; so has all of a
    group in which every graded reward is the same.
    """
    graded = ~rewards_G.isnan()
    count = graded.sum(-1, keepdim=True)
    rewards = rewards_G.masked_fill(~graded, 0.0)
    mean = rewards.sum(-1, keepdim=True) / count.clamp(min=1)
    centred = (rewards - mean).masked_fill(~graded, 0.0)
    if not scale:
        return centred
    deviation = (centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation + epsilon)


def clipped_ratio(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> Tensor:
    """The clipped surrogate, a scalar to minimise.

        -Σ_t w_t min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t),    r_t = exp(log π_θ(o_t) - log π_old(o_t))

    PPO (Schulman et al. 2017, arXiv 1707.06347, equation 7); `high` > `low` is DAPO's clip-higher (arXiv 2503.14476,
    equation 10). Only `logprobs_N` carries a gradient.
    """
    ratio = (logprobs_N - old_logprobs_N).exp()
    clipped = ratio.clamp(1 - low, 1 + high)
    return -(weights_N * torch.minimum(ratio * advantages_N, clipped * advantages_N)).sum()


def nll(logprobs_N: Tensor, weights_N: Tensor) -> Tensor:
    """The negative log-likelihood -Σ_t w_t log π_θ(o_t), a scalar to minimise."""
    return -(weights_N * logprobs_N).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the policy has moved from the one that sampled, over the sampled tokens."""

    kl: float
    """Σ_t w_t (r_t - 1 - log r_t), an estimate of KL(π_old || π_θ) that is never negative (Schulman 2020, "k3")."""
    clipped: float
    """Share of tokens, by weight, whose ratio is outside [1 - low, 1 + high]."""


@torch.no_grad()
def drift(logprobs_N: Tensor, old_logprobs_N: Tensor, weights_N: Tensor, *, low: float, high: float) -> Drift:
    """Both measures; `weights_N` as for the losses."""
    log_ratio = logprobs_N - old_logprobs_N
    ratio = log_ratio.exp()
    outside = (ratio < 1 - low) | (ratio > 1 + high)
    return Drift(kl=float((weights_N * (ratio - 1 - log_ratio)).sum()), clipped=float((weights_N * outside).sum()))
