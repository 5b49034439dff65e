"""Samples to tensors: batches of about one length, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepgym.trainers.losses import Normalise, token_weights
from stepgym.trainers.model import Transformer
from stepgym.trainers.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """What one forward and backward pass reads. N counts the trained tokens alone: no padding, no prompts."""

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
    weights: Tensor
    """(N): what each token counts; see `stepgym.trainers.losses`."""

    def logprobs(self, model: Transformer) -> Tensor:
        """(N): log π(token) of the trained tokens under `model`."""
        hidden = model.hidden(self.tokens).flatten(0, 1)[self.places]
        return model.logits(hidden).log_softmax(-1).gather(1, self.targets[:, None])[:, 0]


def make_batches(
    samples: Sequence[Sample], normalise: Normalise, *, max_tokens: int, device: torch.device | str = "cpu"
) -> list[TokenBatch]:
    """Batches of at most `max_tokens` padded tokens (or of one sample), whose losses add up to that of all `samples`.

    Samples of like length stand together, which keeps padding low.
    """
    counts = torch.tensor([sample.trained_count for sample in samples])
    weights: list[float] = token_weights(counts, normalise).tolist()
    order = sorted(range(len(samples)), key=lambda i: samples[i].length)
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * samples[i].length > max_tokens:
            batches.append([])
        batches[-1].append(i)
    return [_batch([samples[i] for i in rows], [weights[i] for i in rows], device) for rows in batches]


def _batch(samples: Sequence[Sample], weights: Sequence[float], device: torch.device | str) -> TokenBatch:
    # The last token predicts nothing, so it is not read.
    width = max(sample.length for sample in samples) - 1
    rows: list[tuple[int, ...]] = []
    places: list[int] = []
    targets: list[int] = []
    old_logprobs: list[float] = []
    advantages: list[float] = []
    each_weight: list[float] = []
    for row, (sample, weight) in enumerate(zip(samples, weights, strict=True)):
        tokens = (*sample.context, *sample.tokens)[:-1]
        rows.append(tokens + (0,) * (width - len(tokens)))
        first = row * width + len(sample.context) - 1
        kept = [i for i, trained in enumerate(sample.trained) if trained]
        places += [first + i for i in kept]
        targets += [sample.tokens[i] for i in kept]
        old_logprobs += [sample.logprobs[i] for i in kept]
        advantages += [sample.advantage] * len(kept)
        each_weight += [weight] * len(kept)
    return TokenBatch(
        tokens=torch.tensor(rows, device=device),
        places=torch.tensor(places, device=device),
        targets=torch.tensor(targets, device=device),
        old_logprobs=torch.tensor(old_logprobs, device=device),
        advantages=torch.tensor(advantages, device=device),
        weights=torch.tensor(each_weight, device=device),
    )
