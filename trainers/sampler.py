"""Batched sampling with a key-value cache.

A row's reply depends on its prompt, its seed and the weights: its random numbers come from a generator of its own, not
from one that the rows of a batch share. (Floating point makes one exception: the last bit of a logit can depend on how
many rows are multiplied at once. The same batch gives the same bits.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stepgym.agents.policy import Sampling
from stepgym.trainers.decoding import Decoder
from stepgym.trainers.ending import AT_END, Ending
from stepgym.trainers.model import Transformer

CPU_ROWS = 64
"""Most rows sampled at once on a CPU: enough to multiply well, few enough for keys and values to stay in its cache."""

COMPACT_AT = 0.125
"""Rows that have ended leave the batch when they are this share of it: leaving costs a few copies."""


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
    ending: Ending = AT_END,
) -> list[Completion]:
    """One completion for each request, in order. `sampling.seed` and `sampling.stop` are not looked at."""
    # Prompts of one length beside one another need no padding, and equal ones are read once.
    order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), requests[i].prompt))
    at_once = CPU_ROWS if model.embedding.weight.device.type == "cpu" else max(1, len(requests))
    completions: dict[int, Completion] = {}
    for start in range(0, len(requests), at_once):
        part = order[start : start + at_once]
        rows = _Rows(model, [requests[i] for i in part], sampling, ending)
        while rows.step():
            pass
        completions.update(zip(part, rows.completions(), strict=True))
    return [completions[i] for i in range(len(requests))]


class _Rows:
    """The replies in the making: B rows in all, of which `live` (indices) are still in the decoder.

    What belongs to the live rows is written back (`_settle`) only when some of them leave: a step is few operations.
    """

    def __init__(self, model: Transformer, requests: Sequence[Request], sampling: Sampling, ending: Ending) -> None:
        device = model.embedding.weight.device
        B = len(requests)
        limits = [min(sampling.max_tokens, model.config.context - len(request.prompt)) for request in requests]
        steps = max(limits)
        self.sampling, self.ending = sampling, ending
        self.decoder = Decoder(model, [request.prompt for request in requests], steps)
        self.uniforms = _uniforms(requests, steps).to(device) if sampling.temperature > 0 else None
        self.goes_on = torch.ones(len(model.embedding.weight), dtype=torch.bool, device=device)
        self.goes_on[list(ending.tokens)] = False
        self.limits, self.some_limit = torch.tensor(limits, device=device), frozenset(limits)
        self.tokens = torch.zeros((steps, B), dtype=torch.long, device=device)
        self.logprobs = torch.zeros((steps, B), device=device)
        self.lengths = torch.zeros(B, dtype=torch.long, device=device)
        self.cut = torch.zeros(B, dtype=torch.bool, device=device)
        self.live = torch.arange(B, device=device)
        self.going = torch.ones(B, dtype=torch.bool, device=device)
        self.live_lengths = torch.zeros(B, dtype=torch.long, device=device)
        self.count = 0
        self.unsettled: list[_Drawn] = []

    def step(self) -> bool:
        """Sample one token for every live row; False if that ended the last of them."""
        drawn = self._draw()
        self.unsettled.append(drawn)
        self.count += 1
        self.live_lengths += self.going
        self._end(drawn.tokens)
        going, tokens = int(self.going.sum()), drawn.tokens
        if not going:
            self._settle()
            return False
        if len(self.live) - going > COMPACT_AT * len(self.live):
            self._settle()
            order = self.decoder.keep(self.going)
            self.live, self.going, tokens = self.live[order], self.going[order], tokens[order]
            self.live_lengths = self.live_lengths[order]
            self.uniforms = None if self.uniforms is None else self.uniforms[:, order]
        self.decoder.read(tokens)
        return True

    def completions(self) -> list[Completion]:
        """All rows, cut where they ended."""
        rows = zip(
            self.tokens.T.tolist(), self.logprobs.T.tolist(), self.lengths.tolist(), self.cut.tolist(), strict=True
        )
        return [
            Completion(tokens=tuple(tokens[:length]), logprobs=tuple(logprobs[:length]), finished=not cut)
            for tokens, logprobs, length, cut in rows
        ]

    def _draw(self) -> _Drawn:
        logprobs = self.decoder.logits.log_softmax(-1)
        uniforms = None if self.uniforms is None else self.uniforms[self.count]
        tokens = choose(logprobs, uniforms, self.sampling)
        return _Drawn(tokens, logprobs.gather(1, tokens[:, None])[:, 0])

    def _end(self, tokens: Tensor) -> None:
        """Find out which rows end with the `tokens` just sampled."""
        self.going &= self.goes_on.index_select(0, tokens)
        if self.ending.maybe:
            asked = zip(tokens.tolist(), self.going.tolist(), strict=True)
            doubtful = [row for row, (token, going) in enumerate(asked) if going and token in self.ending.maybe]
            if doubtful:
                self._settle()
                replies = self.tokens[: self.count, self.live[doubtful]].T.tolist()
                ended = [row for row, reply in zip(doubtful, replies, strict=True) if self.ending.reached(reply)]
                self.going[ended] = False
        if self.count in self.some_limit:
            over = self.going & (self.limits[self.live] <= self.count)
            self.cut[self.live[over]] = True
            self.going &= ~over

    def _settle(self) -> None:
        since = slice(self.count - len(self.unsettled), self.count)
        if self.unsettled:
            self.tokens[since, self.live] = torch.stack([drawn.tokens for drawn in self.unsettled])
            self.logprobs[since, self.live] = torch.stack([drawn.logprobs for drawn in self.unsettled])
        self.lengths[self.live] = self.live_lengths
        self.unsettled.clear()


class _Drawn(NamedTuple):
    """What one step sampled for the live rows, and its log-probability under the model."""

    tokens: Tensor
    logprobs: Tensor


def choose(logprobs: Tensor, uniforms: Tensor | None, sampling: Sampling) -> Tensor:
    """Ids (B,) from `logprobs` (B, V): the distribution function inverted at `uniforms` (B,); greedy if None."""
    if uniforms is None:
        return logprobs.argmax(-1)
    scaled = logprobs if sampling.temperature == 1 else logprobs / sampling.temperature
    probabilities = scaled.softmax(-1)
    if sampling.top_p < 1:
        descending, order = probabilities.sort(descending=True, stable=True)
        outside = descending.cumsum(-1) - descending >= sampling.top_p
        probabilities = probabilities.scatter(-1, order, descending.masked_fill(outside, 0))
    cumulative = probabilities.cumsum(-1, dtype=torch.double)  # in float, u near 1 times the sum could be the sum
    targets = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0]


def _uniforms(requests: Sequence[Request], steps: int) -> Tensor:
    """(steps, B) numbers in [0, 1): column b is a stream of request b's seed alone, the same however long it is."""
    generator = torch.Generator()
    return torch.stack([torch.rand(steps, generator=generator.manual_seed(r.seed)) for r in requests], dim=1)
