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


def extent(lengths_B: Tensor, normalise: Normalise) -> Tensor:
    """How many tokens or sequences a mean over sequences with `lengths_B` trained tokens is taken over, a scalar.

    A sequence without trained tokens is not one of them. The extents of parts add up to that of the whole.
    """
    lengths = lengths_B.double()
    return lengths.sum() if normalise is Normalise.TOKEN else (lengths > 0).double().sum()


def token_weights(lengths_B: Tensor, normalise: Normalise, whole: Tensor | None = None) -> Tensor:
    """(B): what one token of each sequence counts, for sequences with `lengths_B` trained tokens. In all they count 1.

    If these are part of more, `whole` is the `extent` of all. A sequence without trained tokens counts nothing.
    """
    lengths = lengths_B.double()
    over = extent(lengths, normalise) if whole is None else whole
    shared = over if normalise is Normalise.TOKEN else lengths * over
    return torch.where(lengths > 0, 1 / shared, 0.0)


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


def shaped_ratio(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    gamma_N: Tensor | float,
) -> Tensor:
    """Guide's surrogate for tokens that were sampled in another context (with a hint), a scalar to minimise.

        -Σ_t w_t A_t f(ρ_t),    f(ρ) = ρ / (ρ + γ),    ρ_t = π_θ(o_t | q, o_<t) / π_old(o_t | q, h, o_<t)

    Guide (arXiv 2506.13923) as its authors released it: `old_logprobs_N` are those of the context with the hint, and
    nothing is clipped. The gradient's weight A γρ / (ρ + γ)² is at most A/4, at ρ = γ: it is damped for tokens that are
    far too unlikely without the hint, and for those that need no more learning. γ carries no gradient.
    """
    ratio = (logprobs_N - old_logprobs_N).exp()
    return -(weights_N * advantages_N * (ratio / (ratio + gamma_N))).sum()


@torch.no_grad()
def ratio_quantile(logprobs_N: Tensor, old_logprobs_N: Tensor, rows_N: Tensor, *, quantile: float = 0.9) -> Tensor:
    """(N): for each token the quantile of the ratios of its own sequence, and at least 1e-4: Guide's γ.

    `rows_N` numbers the sequences. The released code takes the quantile over a micro-batch, of one sequence in its
    settings, and over padding too; here no padding exists, and the result does not depend on how a batch is split.
    """
    ratio = (logprobs_N - old_logprobs_N).exp()
    gamma = torch.empty_like(ratio)
    for row in set(rows_N.tolist()):
        tokens = rows_N == row
        gamma[tokens] = ratio[tokens].quantile(quantile)
    return gamma.clamp(min=1e-4)


def nll(logprobs_N: Tensor, weights_N: Tensor) -> Tensor:
    """The negative log-likelihood -Σ_t w_t log π_θ(o_t), a scalar to minimise."""
    return -(weights_N * logprobs_N).sum()


def kl_to_reference(logprobs_N: Tensor, reference_logprobs_N: Tensor, weights_N: Tensor) -> Tensor:
    """Σ_t w_t (x_t - 1 - log x_t), x_t = π_ref(o_t) / π_θ(o_t): GRPO's estimate of KL(π_θ || π_ref), to minimise.

    Shao et al. 2024, arXiv 2402.03300, equation 4. Never negative; 0 where the two agree. A token of weight 0 needs no
    reference: whatever stands there is not looked at.
    """
    log_ratio = (reference_logprobs_N - logprobs_N).masked_fill(weights_N == 0, 0.0)
    return (weights_N * (log_ratio.exp() - 1 - log_ratio)).sum()


def squared_error(values_N: Tensor, returns_N: Tensor, weights_N: Tensor) -> Tensor:
    """½ Σ_t w_t (V(s_t) - R_t)², a critic's loss (PPO, arXiv 1707.06347, equation 9)."""
    return 0.5 * (weights_N * (values_N - returns_N).square()).sum()


def gae(rewards_BT: Tensor, values_BT: Tensor, *, discount: float = 1.0, lambd: float = 1.0) -> Tensor:
    """(..., T): generalised advantage estimates of the actions of episodes, in order, padded with zeros on the right.

        A_t = Σ_l (discount · λ)^l δ_{t+l},    δ_t = r_t + discount · V(s_{t+1}) - V(s_t)

    Schulman et al. 2016, arXiv 1506.02438, equation 16; the value after an episode's end is 0. With both at 1 it is the
    rest of the episode's reward minus V(s_t).
    """
    following = torch.cat([values_BT[..., 1:], torch.zeros_like(values_BT[..., :1])], dim=-1)
    advantages = rewards_BT + discount * following - values_BT
    for t in range(rewards_BT.shape[-1] - 2, -1, -1):
        advantages[..., t] += discount * lambd * advantages[..., t + 1]
    return advantages


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
