"""Samples as OpenRLHF's `Experience`, and back to the tensors that a recipe's loss reads.

A sample of T tokens in all is one row: sequences (1, T), and what is said of tokens (1, T - 1), where place t speaks of
token t + 1. OpenRLHF's own estimators, masks and KL terms have no part in it: advantages are the recipe's, the old
log-probabilities those of the context that was sampled in, and what is trained is what the policy sampled.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from stepgym.trainers.batches import TERMS, TokenBatch
from stepgym.trainers.samples import Sample, Term

TERM, WEIGHT, OFF_POLICY = "stepgym_term", "stepgym_weight", "stepgym_off_policy"
"""What rides along in `Experience.info`, and is taken out before that is logged."""


def to_experience(sample: Sample) -> Experience:
    """A batch of this one sample."""
    before = len(sample.context) - 1

    def row(values: Sequence[float] | Sequence[bool], dtype: torch.dtype = torch.float32) -> Tensor:
        made = torch.zeros((1, before + len(sample.tokens)), dtype=dtype)
        if values:
            made[0, before:] = torch.frombuffer(array("d", values), dtype=torch.float64)  # twice as fast as a tuple
        return made

    logprobs, reward = row(sample.logprobs), float(sum(sample.rewards))
    return Experience(
        sequences=torch.tensor([sample.context + sample.tokens]),
        attention_mask=torch.ones((1, sample.length), dtype=torch.long),
        action_mask=row(sample.trained, torch.long),
        action_log_probs=logprobs,
        rollout_log_probs=logprobs,
        base_action_log_probs=row(sample.reference),
        advantages=row(sample.advantages),
        returns=row(sample.returns),
        rewards=torch.tensor([reward]),
        response_length=torch.tensor([sample.trained_count]),
        total_length=torch.tensor([float(sample.length)]),
        truncated=torch.tensor([False]),
        info={
            "reward": torch.tensor([reward]),
            TERM: torch.tensor([TERMS[sample.term]]),
            WEIGHT: torch.tensor([sample.weight], dtype=torch.float64),
            OFF_POLICY: torch.tensor([sample.off_policy]),
        },
    )


def blank(like: Experience) -> Experience:
    """A row that trains nothing and weighs nothing, with whatever else is said of the rows of `like` set to 0."""
    nothing = Sample(
        context=(0,),
        sampled_in=(0,),
        tokens=(0,),
        trained=(False,),
        logprobs=(0.0,),
        rewards=(0.0,),
        advantages=(0.0,),
        weight=0.0,
    )
    made = to_experience(nothing)
    made.info = {name: torch.zeros_like(value[:1]) for name, value in like.info.items()} | made.info
    return made


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked of one row of a replay buffer to say how much it counts, and where it is trained."""

    place: int
    term: Term
    weight: float
    trained_count: int
    length: int
    """Tokens in all."""


def row_of(item: Experience, place: int) -> Row:
    """Of a single row, as OpenRLHF's replay buffer keeps it at `place`."""
    return Row(
        place=place,
        term=tuple(Term)[int(item.info[TERM])],
        weight=float(item.info[WEIGHT]),
        trained_count=int(item.action_mask.sum()),
        length=int(item.attention_mask.sum()),
    )


def token_batch(experience: Experience, weights: Sequence[float]) -> TokenBatch:
    """What a recipe's loss reads of B rows; `weights` (B) says what one token of each counts.

    Takes what rode along out of `experience.info`.
    """
    mask = experience.action_mask.bool()
    rows = mask.nonzero()[:, 0]
    device = mask.device
    terms, off_policy, _ = (experience.info.pop(name) for name in (TERM, OFF_POLICY, WEIGHT))

    def each_token(values: Any, dtype: torch.dtype) -> Tensor:
        of_rows = values if isinstance(values, Tensor) else torch.tensor([float(value) for value in values])
        return of_rows.to(device, dtype)[rows]

    return TokenBatch(
        samples=tuple(range(len(mask))),
        tokens=experience.sequences[:, :-1],
        places=mask.flatten().nonzero()[:, 0],
        targets=experience.sequences[:, 1:][mask],
        old_logprobs=experience.action_log_probs[mask],
        advantages=experience.advantages[mask],
        returns=experience.returns[mask],
        reference=experience.base_action_log_probs[mask],
        rows=rows,
        off_policy=each_token(off_policy, torch.bool),
        weights=each_token(torch.tensor(weights, dtype=torch.float64), torch.float32),
        terms=each_token(terms, torch.long),
    )
