"""Losses and advantages: numbers worked by hand, and autograd of the formulas written out token by token."""

from __future__ import annotations

import math

import pytest
import torch

from stepgym.trainers import losses
from stepgym.trainers.losses import Normalise

DOUBLE = torch.float64


def test_advantages_by_hand() -> None:
    # mean 1/4, unbiased deviation sqrt((9 + 1 + 1 + 1) / 16 / 3) = 1/2
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=DOUBLE)
    assert losses.group_advantages(rewards, epsilon=0.0).tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5])
    assert losses.group_advantages(rewards, scale=False).tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])


def test_advantages_of_equal_rewards_are_zero() -> None:
    for value in (0.0, 1.0, 0.1):
        assert losses.group_advantages(torch.full((8,), value, dtype=DOUBLE)).abs().max() < 1e-9


def test_ungraded_rewards_take_no_part() -> None:
    with_hole = torch.tensor([[1.0, math.nan, 0.0, 0.0], [math.nan, math.nan, math.nan, 1.0]], dtype=DOUBLE)
    advantages = losses.group_advantages(with_hole)
    without = losses.group_advantages(torch.tensor([1.0, 0.0, 0.0], dtype=DOUBLE)).tolist()
    assert advantages[0].tolist() == pytest.approx([without[0], 0.0, without[1], without[2]])
    assert advantages[1].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_weights_by_hand() -> None:
    lengths = torch.tensor([1, 3, 0])
    assert losses.token_weights(lengths, Normalise.TOKEN).tolist() == [0.25, 0.25, 0.0]
    assert losses.token_weights(lengths, Normalise.SEQUENCE).tolist() == pytest.approx([1 / 2, 1 / 6, 0.0])


def test_clipped_ratio_by_hand() -> None:
    # ratios 2 and 1/2, clipped to [0.8, 1.28]; min(r A, clip A) takes: 1.28, -2, 0.5, -0.8
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5], dtype=DOUBLE)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DOUBLE)
    weights = torch.full((4,), 0.25, dtype=DOUBLE)
    loss = losses.clipped_ratio(ratio.log(), torch.zeros(4, dtype=DOUBLE), advantages, weights, low=0.2, high=0.28)
    assert float(loss) == pytest.approx(-(1.28 - 2 + 0.5 - 0.8) / 4)


def test_nll_and_drift_by_hand() -> None:
    logprobs = torch.tensor([0.5, 0.25], dtype=DOUBLE).log()
    weights = torch.tensor([0.5, 0.5], dtype=DOUBLE)
    assert float(losses.nll(logprobs, weights)) == pytest.approx(1.5 * math.log(2))
    moved = losses.drift(logprobs, torch.tensor([0.5, 0.5], dtype=DOUBLE).log(), weights, low=0.2, high=0.2)
    assert moved.kl == pytest.approx((0.5 - 1 - math.log(0.5)) / 2)
    assert moved.clipped == pytest.approx(0.5)


@pytest.mark.parametrize("normalise", list(Normalise))
def test_gradient_is_that_of_the_formula(normalise: Normalise) -> None:
    """GRPO's equation, transcribed as loops over sequences and tokens."""
    generator = torch.Generator().manual_seed(1)
    lengths = [3, 1, 5, 2]
    logprobs = [torch.randn(n, dtype=DOUBLE, generator=generator).requires_grad_() for n in lengths]
    old = [(x.detach() + 0.3 * torch.randn(len(x), dtype=DOUBLE, generator=generator)) for x in logprobs]
    advantages = [1.5, -0.5, 0.7, -2.0]

    written_out = torch.zeros((), dtype=DOUBLE)
    for new, before, advantage in zip(logprobs, old, advantages, strict=True):
        for t in range(len(new)):
            r = torch.exp(new[t] - before[t])
            term = torch.min(r * advantage, torch.clip(r, 1 - 0.2, 1 + 0.28) * advantage)
            per = sum(lengths) if normalise is Normalise.TOKEN else len(lengths) * len(new)
            written_out = written_out - term / per
    expected = torch.autograd.grad(written_out, logprobs)

    weights = losses.token_weights(torch.tensor(lengths), normalise)
    loss = losses.clipped_ratio(
        torch.cat(logprobs),
        torch.cat(old),
        torch.cat([torch.full((n,), a, dtype=DOUBLE) for n, a in zip(lengths, advantages, strict=True)]),
        torch.cat([w.expand(n) for n, w in zip(lengths, weights, strict=True)]),
        low=0.2,
        high=0.28,
    )
    assert loss.item() == pytest.approx(written_out.item(), abs=1e-12)
    for ours, theirs in zip(torch.autograd.grad(loss, logprobs), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_gradient_through_the_model_is_that_of_a_direct_transcription() -> None:
    """From samples to parameter gradients in float64: no padding, no prompt token, no off-by-one."""
    from stepgym.trainers.batches import make_batches
    from stepgym.trainers.config import ModelConfig
    from stepgym.trainers.model import Transformer
    from stepgym.trainers.samples import Sample

    model = Transformer.seeded(12, ModelConfig(width=8, layers=2, heads=2, context=16), 3).double()
    samples = [
        Sample(
            context=context,
            sampled_in=context,
            tokens=tokens,
            trained=trained,
            logprobs=tuple(-1.0 - 0.1 * i for i in range(len(tokens))),
            advantage=advantage,
        )
        for context, tokens, trained, advantage in (
            ((3, 4), (5, 6, 7), (True, True, True), 1.0),
            ((3,), (8, 9, 10, 11, 1), (True, False, False, True, True), -0.5),
            ((2, 2, 2, 2), (4,), (True,), 2.0),
        )
    ]
    written_out = torch.zeros((), dtype=DOUBLE)
    count = 3 + 3 + 1
    for sample in samples:
        tokens = torch.tensor([[*sample.context, *sample.tokens]])
        logprobs = model(tokens)[0].log_softmax(-1)
        for i, (token, trained, old) in enumerate(zip(sample.tokens, sample.trained, sample.logprobs, strict=True)):
            if trained:
                r = torch.exp(logprobs[len(sample.context) + i - 1, token] - old)
                surrogate = torch.min(r * sample.advantage, torch.clip(r, 0.8, 1.2) * sample.advantage)
                written_out = written_out - surrogate / count
    expected = torch.autograd.grad(written_out, list(model.parameters()))

    for max_tokens in (10_000, 8):  # in one pass, and accumulated over several
        batches = make_batches(samples, Normalise.TOKEN, max_tokens=max_tokens)
        assert len(batches) == (1 if max_tokens > 8 else 3)
        total = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for batch in batches:
            loss = losses.clipped_ratio(
                batch.logprobs(model), batch.old_logprobs.double(), batch.advantages.double(), batch.weights.double()
            )
            for mine, part in zip(total, torch.autograd.grad(loss, list(model.parameters())), strict=True):
                mine += part
        for ours, theirs in zip(total, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
