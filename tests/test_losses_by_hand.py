"""Losses and advantages against numbers worked by hand. Ratios are given as fractions, so the results are exact."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stepgym.trainers import losses
from stepgym.trainers.batches import make_batches, sample_weights
from stepgym.trainers.losses import Normalise
from stepgym.trainers.samples import Sample, Term, demonstration


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Whatever is made of Python numbers is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def logs(*ratios: float) -> Tensor:
    """Log-probabilities of tokens that had probability 1/8 when they were sampled, and `ratios` times that now."""
    return (torch.tensor(ratios) / 8).log()


def old(count: int) -> Tensor:
    return logs(*[1.0] * count)


def test_advantages() -> None:
    # mean 1/4; unbiased deviation sqrt((9 + 1 + 1 + 1) / 16 / 3) = 1/2
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert losses.group_advantages(rewards, epsilon=0.0).tolist() == [3 / 2, -1 / 2, -1 / 2, -1 / 2]
    assert losses.group_advantages(rewards, epsilon=0.5).tolist() == [3 / 4, -1 / 4, -1 / 4, -1 / 4]
    assert losses.group_advantages(rewards, scale=False).tolist() == [3 / 4, -1 / 4, -1 / 4, -1 / 4]


def test_advantages_of_several_groups_are_apart() -> None:
    # the second: mean 3, unbiased deviation sqrt((4 + 0 + 4) / 2) = 2
    rewards = torch.tensor([[1.0, 0.0, 0.5], [1.0, 3.0, 5.0]])
    assert losses.group_advantages(rewards, epsilon=0.0).tolist() == [[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]]


def test_equal_rewards_have_no_advantage() -> None:
    for value in (0.0, 1.0, 0.1, -1.0):
        assert losses.group_advantages(torch.full((8,), value)).abs().max() < 1e-9


def test_ungraded_rewards_take_no_part() -> None:
    # of 1 and 0: mean 1/2, unbiased deviation sqrt(2 · 1/4 / 1) = 1/√2; one alone, or none, has no siblings
    rewards = torch.tensor([[1.0, math.nan, 0.0], [math.nan, math.nan, 1.0], [math.nan] * 3])
    advantages = losses.group_advantages(rewards, epsilon=1e-300).tolist()
    assert advantages[0] == pytest.approx([math.sqrt(2) / 2, 0.0, -math.sqrt(2) / 2])
    assert advantages[1:] == [[0.0] * 3] * 2


def test_token_weights() -> None:
    lengths = torch.tensor([1, 3, 0])
    assert losses.token_weights(lengths, Normalise.TOKEN).tolist() == [1 / 4, 1 / 4, 0]
    assert losses.token_weights(lengths, Normalise.SEQUENCE).tolist() == [1 / 2, 1 / 6, 0]
    for normalise in Normalise:
        assert losses.token_weights(torch.tensor([0, 0]), normalise).tolist() == [0, 0]


def of_term(term: Term, trained: tuple[bool, ...], weight: float = 1.0) -> Sample:
    count = len(trained)
    nothing = (0.0,) * count
    return Sample(
        context=(2,),
        sampled_in=(2,),
        tokens=(3,) * count,
        trained=trained,
        logprobs=nothing,
        rewards=nothing,
        advantages=nothing,
        term=term,
        weight=weight,
    )


def test_sample_weights() -> None:
    samples = [
        of_term(Term.POLICY, (True, False, True)),
        of_term(Term.DISTILLATION, (True,) * 4, weight=1 / 2),
        of_term(Term.POLICY, (True,) * 3),
        of_term(Term.POLICY, (False,)),  # nothing of it is trained: not a sequence to take the mean over
        of_term(Term.REHEARSAL, (True,) * 2, weight=0.3),
        of_term(Term.REHEARSAL, (True,) * 6, weight=0.3),
    ]
    # tokens: 5 of the policy's, 4 distilled, 8 rehearsed
    by_token = [1 / 5, 1 / 8, 1 / 5, 0, 0.3 / 8, 0.3 / 8]
    assert sample_weights(samples, Normalise.TOKEN) == pytest.approx(by_token, abs=1e-15)
    # sequences: 2, 1, 2
    by_sequence = [1 / 4, 1 / 8, 1 / 6, 0, 0.3 / 4, 0.3 / 12]
    assert sample_weights(samples, Normalise.SEQUENCE) == pytest.approx(by_sequence, abs=1e-15)
    # split into passes, each token still counts what it counts in the whole, in its own term only
    batches = make_batches(samples, Normalise.SEQUENCE, max_tokens=8)
    assert len(batches) > 2
    for term, total in ((Term.POLICY, 1.0), (Term.DISTILLATION, 1 / 2), (Term.REHEARSAL, 0.3), (Term.IMITATION, 0.0)):
        assert sum(float(batch.weights_of(term).sum()) for batch in batches) == pytest.approx(total, abs=1e-15)


def test_clipped_ratio() -> None:
    # ratios 2, 2, 1/2, 1/2, 1 within [4/5, 5/4]: min(r A, clip A) takes 5/4, -2, 1/2, -4/5, 3
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 3.0])
    weights = torch.tensor([1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 4])
    logprobs = logs(2, 2, 1 / 2, 1 / 2, 1).requires_grad_()
    loss = losses.clipped_ratio(logprobs, old(5), advantages, weights, low=1 / 5, high=1 / 4)
    # 5/16 - 2/4 + 1/16 - 1/10 + 3/4
    assert loss.item() == pytest.approx(-(5 / 16 - 1 / 2 + 1 / 16 - 1 / 10 + 3 / 4), abs=1e-15)
    loss.backward()
    # d r / d log π = r, and nothing where the clipped side is the smaller one
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0, 2 / 4, -1 / 16, 0, -3 / 4], abs=1e-15)


def test_shaped_ratio() -> None:
    # f(ρ) = ρ / (ρ + 1/2) of 1/2, 2, 1: 1/2, 4/5, 2/3
    advantages, weights = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([1 / 4, 1 / 4, 1 / 2])
    logprobs = logs(1 / 2, 2, 1).requires_grad_()
    loss = losses.shaped_ratio(logprobs, old(3), advantages, weights, 1 / 2)
    assert loss.item() == pytest.approx(-(1 / 8 - 1 / 5 + 1), abs=1e-15)
    loss.backward()
    # γρ / (ρ + γ)²: 1/4 (its maximum, at ρ = γ), 4/25, 2/9
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1 / 16, 1 / 25, -1 / 3], abs=1e-15)
    each = losses.shaped_ratio(logs(1 / 2, 2, 1), old(3), advantages, weights, torch.tensor([1 / 2, 6.0, 1.0]))
    assert each.item() == pytest.approx(-(1 / 8 - 1 / 16 + 3 / 4), abs=1e-15)


def test_ratio_quantile() -> None:
    # row 0 holds 1/10, 2/10, …, 11/10 mixed up, whose 0.9-quantile is the tenth; of 1 and 2 in row 7 it is 1 + 0.9
    ratios = [4, 11, 1, 7, 2, 9, 3, 10, 5, 8, 6]
    logprobs = torch.cat([logs(1), logs(*[ratio / 10 for ratio in ratios]), logs(2)]).requires_grad_()
    rows = torch.tensor([7, *[0] * 11, 7])
    gamma = losses.ratio_quantile(logprobs, old(13), rows, quantile=0.9)
    assert gamma.tolist() == pytest.approx([1.9, *[1.0] * 11, 1.9], abs=1e-14)
    assert not gamma.requires_grad
    small = losses.ratio_quantile(logs(1e-6, 1e-7), old(2), torch.tensor([0, 0]))
    assert small.tolist() == [1e-4, 1e-4]


def test_nll() -> None:
    logprobs = torch.tensor([1 / 2, 1 / 4]).log()
    assert losses.nll(logprobs, torch.tensor([1 / 2, 1 / 2])).item() == pytest.approx(1.5 * math.log(2), abs=1e-15)


def test_kl_to_reference() -> None:
    # x = π_ref / π of 2 and 1/2: (2 - 1 - ln 2) / 2 + (1/2 - 1 + ln 2) / 2 = 1/4
    logprobs = logs(1 / 2, 2).requires_grad_()
    away = losses.kl_to_reference(logprobs, old(2), torch.tensor([1 / 2, 1 / 2]))
    assert away.item() == pytest.approx(1 / 4, abs=1e-15)
    away.backward()
    # d/d log π (x - 1 - log x) = 1 - x
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1 / 2, 1 / 4], abs=1e-15)
    assert losses.kl_to_reference(old(2), old(2), torch.tensor([1 / 2, 1 / 2])).item() == 0


def test_tokens_of_weight_zero_need_no_reference() -> None:
    """An imitated token can be unlikely beyond what a float holds the inverse of, and it has no reference."""
    logprobs = torch.tensor([math.log(1 / 8), -1000.0], requires_grad=True)
    away = losses.kl_to_reference(logprobs, torch.tensor([math.log(1 / 4), 0.0]), torch.tensor([1.0, 0.0]))
    assert away.item() == pytest.approx(1 - math.log(2))
    away.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1.0, 0.0])


def test_squared_error() -> None:
    # ½ (1/4 · 1 + 3/4 · 4)
    error = losses.squared_error(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]), torch.tensor([1 / 4, 3 / 4]))
    assert error.item() == 13 / 8


def test_gae() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
    values = torch.tensor([[1 / 2, 1 / 4, 3 / 4], [1.0, 0.0, 0.0]])  # the second episode is one action long
    # δ = r + V'/2 - V: -3/8, 1/8, 1/4; A2 = 1/4, A1 = 1/8 + 1/16, A0 = -3/8 + 3/64
    discounted = losses.gae(rewards, values, discount=1 / 2, lambd=1 / 2)
    assert discounted.tolist() == [[-21 / 64, 3 / 16, 1 / 4], [1, 0, 0]]
    # all of the rest's reward, less the value
    assert losses.gae(rewards, values).tolist() == [[1 / 2, 3 / 4, 1 / 4], [1, 0, 0]]
    # one step ahead alone
    assert losses.gae(rewards, values, lambd=0.0).tolist() == [[-1 / 4, 1 / 2, 1 / 4], [1, 0, 0]]
    assert rewards.tolist() == [[0, 0, 1], [2, 0, 0]]  # what it was given stays


def test_drift() -> None:
    # ratios 1, 1/2: k3 is 0 and 1/2 - 1 + ln 2
    moved = losses.drift(logs(1, 1 / 2), old(2), torch.tensor([1 / 4, 3 / 4]), low=0.2, high=0.2)
    assert moved.kl == pytest.approx(3 / 4 * (math.log(2) - 1 / 2), abs=1e-15)
    assert moved.clipped == 3 / 4


def test_demonstrations_count_as_imitation() -> None:
    (batch,) = make_batches([demonstration((2, 2), (3, 4)), demonstration((2,), (5, 6))], Normalise.TOKEN, max_tokens=9)
    assert batch.weights_of(Term.IMITATION).tolist() == [1 / 4] * 4
    assert batch.weights_of(Term.POLICY).tolist() == [0] * 4
