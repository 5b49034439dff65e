"""Batched sampling with a key-value cache.

A row's reply depends on its prompt, its seed and the weights: its random numbers come from a generator of its own, not
from one that the rows of a batch share. (Floating point makes one exception: the last bit of a logit can depend on how
many rows are multiplied at once. The same batch gives the same bits.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepgym.agents.policy import Sampling
from stepgym.trainers.model import KeyValues, Transformer
from stepgym.trainers.tokenizer import CharTokenizer

COMPACT_AT = 0.25
"""Rows that have ended leave the batch when they are this share of it: leaving costs a copy of the cache."""


@dataclass(frozen=True, slots=True)
class Request:
    """One reply to sample: the tokens it continues, at least one and fewer than the model's context, and its seed."""

    prompt: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The tokens sampled for one request, the end token included if it was sampled."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    """log π(token | all before it) of the model itself. At temperature 1 without top-p that is the distribution the
    token was drawn from; at other settings it still is temperature 1, which is what a forward pass in training has."""
    finished: bool
    """False if it was cut by `Sampling.max_tokens` or the model's context."""


@torch.inference_mode()
def sample(
    model: Transformer,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    stopped: Callable[[Sequence[int]], bool] | None = None,
) -> list[Completion]:
    """One completion for each request, in order. `sampling.seed` and `sampling.stop` are not looked at.

    `stopped` is asked after every token, with the reply so far, whether it ends there.
    """
    rows = _Rows(model, requests, sampling)
    while rows.live.numel():
        picked = rows.step()
        ended = picked == CharTokenizer.end
        if stopped is not None:
            ended |= torch.tensor([stopped(reply) for reply in rows.replies()], device=ended.device)
        rows.retire(ended)
    return rows.completions()


class _Rows:
    """The replies in the making: B rows in all, of which `live` (indices) are still in the cache."""

    def __init__(self, model: Transformer, requests: Sequence[Request], sampling: Sampling) -> None:
        device = model.embedding.weight.device
        B = len(requests)
        lengths = [len(request.prompt) for request in requests]
        self.model, self.sampling = model, sampling
        limits = [min(sampling.max_tokens, model.config.context - length) for length in lengths]
        self.limits = torch.tensor(limits, device=device)
        steps, width = max(limits), max(lengths)
        self.uniforms = _uniforms(requests, steps).to(device) if sampling.temperature > 0 else None
        self.tokens = torch.zeros((steps, B), dtype=torch.long, device=device)
        self.logprobs = torch.zeros((steps, B), device=device)
        self.lengths = torch.zeros(B, dtype=torch.long, device=device)
        self.finished = torch.zeros(B, dtype=torch.bool, device=device)
        self.live = torch.arange(B, device=device)
        self.done = torch.zeros(B, dtype=torch.bool, device=device)
        self.count = 0
        self.cache = KeyValues(model.config, B, width + steps, device)
        self.visible = _visible(lengths, width + steps).to(device) if min(lengths) < width else None
        padded = [[CharTokenizer.end] * (width - len(request.prompt)) + list(request.prompt) for request in requests]
        self._read(torch.tensor(padded, device=device))

    def step(self) -> Tensor:
        """Sample one token for every live row: their ids."""
        logprobs = self.model.logits(self.hidden[:, -1]).log_softmax(-1)
        uniforms = None if self.uniforms is None else self.uniforms[self.count, self.live]
        picked = choose(logprobs, uniforms, self.sampling)
        self.tokens[self.count, self.live] = picked
        self.logprobs[self.count, self.live] = logprobs.gather(1, picked[:, None])[:, 0]
        self.count += 1
        return picked

    def retire(self, ended: Tensor) -> None:
        """Mark the live rows that `ended` here or reached their limit, and read the next token of the others."""
        over = (ended | (self.limits[self.live] <= self.count)) & ~self.done
        self.lengths[self.live[over]] = self.count
        self.finished[self.live[over]] = ended[over]
        self.done |= over
        if int(self.done.sum()) > COMPACT_AT * len(self.live):
            stay = (~self.done).nonzero()[:, 0]
            self.live, self.done = self.live[stay], self.done[stay]
            self.cache.keep(stay)
            self.visible = None if self.visible is None else self.visible[stay]
        if self.live.numel():
            self._read(self.tokens[self.count - 1, self.live][:, None])

    def replies(self) -> list[list[int]]:
        """What each live row has sampled so far."""
        replies: list[list[int]] = self.tokens[: self.count, self.live].T.tolist()
        return replies

    def completions(self) -> list[Completion]:
        """All rows, cut where they ended."""
        rows = zip(
            self.tokens.T.tolist(), self.logprobs.T.tolist(), self.lengths.tolist(), self.finished.tolist(), strict=True
        )
        return [
            Completion(tokens=tuple(tokens[:length]), logprobs=tuple(logprobs[:length]), finished=finished)
            for tokens, logprobs, length, finished in rows
        ]

    def _read(self, tokens: Tensor) -> None:
        start, stop = self.cache.length, self.cache.length + tokens.shape[1]
        mask = None if self.visible is None else self.visible[:, None, None, :stop]
        if tokens.shape[1] > 1:
            square = torch.ones((tokens.shape[1], stop), dtype=torch.bool, device=tokens.device)
            causal = square.tril(start)
            # A padding position looks at itself: it must look somewhere, or it would spread NaN.
            mask = causal if mask is None else (mask & causal) | (causal & square.triu(start))
        self.hidden = self.model.hidden(tokens, mask=mask, cache=self.cache)


def choose(logprobs: Tensor, uniforms: Tensor | None, sampling: Sampling) -> Tensor:
    """Ids (B,) from `logprobs` (B, V): the distribution function inverted at `uniforms` (B,); greedy if None."""
    if uniforms is None:
        return logprobs.argmax(-1)
    probabilities = (logprobs.double() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        descending, order = probabilities.sort(descending=True, stable=True)
        outside = descending.cumsum(-1) - descending >= sampling.top_p
        probabilities = probabilities.scatter(-1, order, descending.masked_fill(outside, 0))
    cumulative = probabilities.cumsum(-1)
    targets = uniforms[:, None].double() * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0]


def _uniforms(requests: Sequence[Request], steps: int) -> Tensor:
    """(steps, B) numbers in [0, 1): column b is a stream of request b's seed alone, the same however long it is."""
    generator = torch.Generator()
    return torch.stack([torch.rand(steps, generator=generator.manual_seed(r.seed)) for r in requests], dim=1)


def _visible(lengths: Sequence[int], columns: int) -> Tensor:
    """(B, columns), False on the padding left of each row's prompt."""
    padding = max(lengths) - torch.tensor(lengths)
    return torch.arange(columns) >= padding[:, None]
