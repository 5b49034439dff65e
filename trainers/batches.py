"""Samples to tensors: batches of about one length, padded on the right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stepgym.trainers.backbone import LanguageModel
from stepgym.trainers.losses import Normalise, extent, token_weights
from stepgym.trainers.samples import Sample, Term

LOGITS = 2**26
"""Most logits held at a time: 256 MiB in float32, and about as much again for each of the steps to their gradient."""

TERMS = {term: place for place, term in enumerate(Term)}


class Counted(Protocol):
    """What is asked of a sample to say how much its tokens count."""

    @property
    def term(self) -> Term:
        """The term that it belongs to."""

    @property
    def weight(self) -> float:
        """How much it counts beside the others of its term."""

    @property
    def trained_count(self) -> int:
        """Tokens that are learned from."""


C = TypeVar("C", bound=Counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """What one forward and backward pass reads. N counts the trained tokens alone: no padding, no prompts."""

    samples: tuple[int, ...]
    """Which of the samples each of the B rows is."""
    tokens: Tensor
    """(B, T)"""
    places: Tensor
    """(N): where in the flattened (B, T) the hidden state stands that predicts each trained token."""
    targets: Tensor
    """(N): the trained tokens."""
    old_logprobs: Tensor
    """(N): their log-probabilities when they were sampled."""
    advantages: Tensor
    """(N)"""
    returns: Tensor
    """(N): what a critic should have foreseen; zeros where there is no critic."""
    reference: Tensor
    """(N): log-probabilities under the reference policy; zeros where there is none."""
    rows: Tensor
    """(N): the row of `tokens` that each token belongs to."""
    off_policy: Tensor
    """(N): whether it was sampled in another context."""
    weights: Tensor
    """(N): what each token counts in its own term, where all together count 1; see `stepgym.trainers.losses`."""
    terms: Tensor
    """(N): which term, as a position in `Term`."""

    def weights_of(self, term: Term) -> Tensor:
        """(N): `weights` of the tokens of `term`, and 0 elsewhere."""
        return self.weights * (self.terms == TERMS[term])

    def hidden(self, model: LanguageModel) -> Tensor:
        """(N, width): the states of `model` that predict the trained tokens."""
        return model.hidden(self.tokens).flatten(0, 1)[self.places]

    def logprobs(self, model: LanguageModel) -> Tensor:
        """(N): log π(token) of the trained tokens under `model`, in float32 at least.

        Logits are made of these tokens alone, and `LOGITS` of them at a time: those of a part are made again in the
        backward pass if there are several parts.
        """
        hidden_NW = self.hidden(model)

        def chosen(hidden_nW: Tensor, targets_n: Tensor) -> Tensor:
            logits_nV = model.logits(hidden_nW)
            logits_nV = logits_nV.to(torch.promote_types(logits_nV.dtype, torch.float32))
            return logits_nV.log_softmax(-1).gather(1, targets_n[:, None])[:, 0]

        vocabulary = model.logits(hidden_NW[:1]).shape[-1]
        count = max(1, LOGITS // vocabulary)
        if len(hidden_NW) <= count:
            return chosen(hidden_NW, self.targets)
        parts = zip(torch.split(hidden_NW, count), torch.split(self.targets, count), strict=True)
        return torch.cat([checkpoint(chosen, *part, use_reentrant=False) for part in parts])


def make_batches(
    samples: Sequence[Sample], normalise: Normalise, *, max_tokens: int, device: torch.device | str = "cpu"
) -> list[TokenBatch]:
    """Batches of at most `max_tokens` padded tokens (or of one sample), whose losses add up to that of all `samples`.

    Samples of like length stand together, which keeps padding low.
    """
    weights = sample_weights(samples, normalise)
    order = sorted(range(len(samples)), key=lambda i: samples[i].length)
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * samples[i].length > max_tokens:
            batches.append([])
        batches[-1].append(i)
    return [_batch(rows, samples, weights, device) for rows in batches]


def sample_weights(
    samples: Sequence[Counted], normalise: Normalise, *, over_all: Callable[[Tensor], Tensor] | None = None
) -> list[float]:
    """What one token of each sample counts: a mean over each term's tokens or sequences, times the sample's weight.

    Where several processes hold a part each, `over_all` adds up a tensor over them.
    """
    weights = [0.0] * len(samples)
    rows_of = [[i for i, sample in enumerate(samples) if sample.term is term] for term in Term]
    lengths_of = [torch.tensor([samples[i].trained_count for i in rows]) for rows in rows_of]
    whole = torch.stack([extent(lengths_B, normalise) for lengths_B in lengths_of])
    if over_all is not None:
        whole = over_all(whole)
    for rows, lengths_B, of_term in zip(rows_of, lengths_of, whole, strict=True):
        for i, weight in zip(rows, token_weights(lengths_B, normalise, of_term).tolist(), strict=True):
            weights[i] = weight * samples[i].weight
    return weights


def minibatches(samples: Sequence[C], count: int, seed: str) -> list[list[C]]:
    """At most `count` parts of about one size, each with its share of every term, in an order that the seed decides."""
    parts = min(count, len(samples))
    if parts <= 1:
        return [list(samples)] if samples else []
    shuffled = random.Random(seed).sample(samples, len(samples))
    shuffled.sort(key=lambda sample: sample.term)
    return [shuffled[part::parts] for part in range(parts)]


def _batch(
    chosen: Sequence[int], all_samples: Sequence[Sample], all_weights: Sequence[float], device: torch.device | str
) -> TokenBatch:
    samples, weights = [all_samples[i] for i in chosen], [all_weights[i] for i in chosen]
    # The last token predicts nothing, so it is not read.
    width = max(sample.length for sample in samples) - 1
    rows = [(*sample.context, *sample.tokens)[:-1] for sample in samples]
    kept = [[i for i, trained in enumerate(sample.trained) if trained] for sample in samples]

    def each_token(values: Sequence[Sequence[float]]) -> Tensor:
        flat = [of[i] if of else 0.0 for of, places in zip(values, kept, strict=True) for i in places]
        return torch.tensor(flat, device=device)

    def each_sample(values: Sequence[float]) -> Tensor:
        return torch.tensor([v for v, places in zip(values, kept, strict=True) for _ in places], device=device)

    firsts = [row * width + len(sample.context) - 1 for row, sample in enumerate(samples)]
    return TokenBatch(
        samples=tuple(chosen),
        tokens=torch.tensor([row + (0,) * (width - len(row)) for row in rows], device=device),
        places=torch.tensor([first + i for first, of in zip(firsts, kept, strict=True) for i in of], device=device),
        targets=torch.tensor([s.tokens[i] for s, of in zip(samples, kept, strict=True) for i in of], device=device),
        old_logprobs=each_token([sample.logprobs for sample in samples]),
        advantages=each_token([sample.advantages for sample in samples]),
        returns=each_token([sample.returns for sample in samples]),
        reference=each_token([sample.reference for sample in samples]),
        rows=each_sample(range(len(samples))),
        off_policy=each_sample([sample.off_policy for sample in samples]),
        weights=each_sample(weights),
        terms=each_sample([TERMS[sample.term] for sample in samples]),
    )
