"""Trajectories to samples: prefix extension, contexts, and what trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepgym.errors import ConfigError
from stepgym.records import Reply, Score, Step, Stop, Task, Trajectory
from stepgym.trainers import to_samples
from stepgym.trainers.batches import make_batches
from stepgym.trainers.losses import Normalise
from stepgym.trainers.samples import demonstration


def trajectory(*turns: tuple[list[int], list[int]]) -> Trajectory:
    steps = tuple(
        Step(
            observation="",
            reply=Reply(
                text="x",
                prompt=tuple(prompt),
                tokens=tuple(tokens),
                logprobs=tuple(-float(token) for token in tokens),
            ),
            score=Score(0.0),
        )
        for prompt, tokens in turns
    )
    return Trajectory(task=Task(id="t", prompt="?"), steps=steps, stop=Stop.ANSWERED)


def test_an_appended_history_is_one_sample() -> None:
    (sample,) = to_samples(trajectory(([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])), advantage=0.5)
    assert sample.context == sample.sampled_in == (1, 2)
    assert sample.tokens == (3, 4, 5, 6)
    assert sample.trained == (True, True, False, True)
    assert sample.logprobs == (-3.0, -4.0, 0.0, -6.0)
    assert sample.advantages == (0.5, 0.5, 0.0, 0.5)
    assert (sample.length, sample.trained_count) == (6, 3)


def test_a_rewritten_history_begins_another_sample() -> None:
    first, second = to_samples(trajectory(([1, 2], [3]), ([1, 9], [8])))
    assert (first.context, first.tokens) == ((1, 2), (3,))
    assert (second.context, second.tokens) == ((1, 9), (8,))


def test_a_history_that_was_cut_short_begins_another_sample() -> None:
    assert len(to_samples(trajectory(([1, 2], [3, 4]), ([1, 2, 3], [5])))) == 2


def test_an_empty_completion_teaches_nothing() -> None:
    assert to_samples(trajectory(([1, 2], []))) == []
    (sample,) = to_samples(trajectory(([1], []), ([1, 2], [3])))
    assert sample.trained_count == 1


def test_a_policy_without_tokens_cannot_be_learned_from() -> None:
    with pytest.raises(ConfigError, match="records no tokens"):
        to_samples(trajectory(([], [])))


def test_a_sample_can_be_trained_in_another_context_than_it_was_sampled_in() -> None:
    (helped,) = to_samples(trajectory(([7, 7, 7, 7], [3, 4])))
    plain = replace(helped, context=(2,))
    (batch,) = make_batches([plain], Normalise.TOKEN, max_tokens=100)
    assert batch.tokens.tolist() == [[2, 3]]
    assert batch.targets.tolist() == [3, 4]
    assert batch.old_logprobs.tolist() == [-3.0, -4.0]  # those of the context it was sampled in


def test_batches_hold_every_trained_token_once_and_bound_their_size() -> None:
    samples = [demonstration([2] * (1 + i % 5), range(3, 4 + i % 9)) for i in range(50)]
    batches = make_batches(samples, Normalise.SEQUENCE, max_tokens=64)
    assert len(batches) > 3
    assert all(batch.tokens.numel() <= 64 for batch in batches)
    assert sum(len(batch.targets) for batch in batches) == sum(sample.trained_count for sample in samples)
    assert sum(float(batch.weights.sum()) for batch in batches) == pytest.approx(1.0, abs=1e-6)
