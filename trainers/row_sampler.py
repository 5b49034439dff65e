"""Samples the next token of every row of a batch, each with random numbers of its own.

``generate()`` draws from one global stream, so that what a row says depends on its neighbours. Here each row has its
stream, on any device: a uniform number is looked up in the cumulative distribution. To ``generate()`` this is a logits
processor that leaves one possible token, and a stopping criterion.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch

from stepgym.agents.policy import Sampling


class RowSampler:
    """The tokens (`tokens_B_T`) and log-probabilities (`logprobs_B_T`) of a batch under way."""

    def __init__(
        self,
        sampling: Sampling,
        seeds: Sequence[int | None],
        *,
        ends: Sequence[int],
        decode: Callable[[Sequence[int]], str],
        interrupted: Callable[[], bool],
    ) -> None:
        """`ends`: tokens that end a reply. `decode` turns tokens into text, to find `sampling.stop` in.

        Once `interrupted` says so, nobody waits for the replies any more, and every row counts as ended.
        """
        self.sampling, self.ends, self.decode = sampling, frozenset(ends), decode
        self.interrupted = interrupted
        self.streams_B = [random.Random(seed) for seed in seeds]
        self.tokens_B_T: list[list[int]] = [[] for _ in seeds]
        self.logprobs_B_T: list[list[float]] = [[] for _ in seeds]
        self.ended_B = [False for _ in seeds]
        # A character can be four byte-level tokens; the margin is for a stop string that begins inside a token.
        self._tail = max((4 * len(stop) + 8 for stop in sampling.stop), default=0)

    def choose(self, input_ids: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """The logits processor: everything but the token it has sampled becomes impossible."""
        token_B = self._sample(logits_BV)
        logprob_B = torch.log_softmax(logits_BV.float(), dim=-1).gather(1, token_B[:, None])[:, 0]
        for row, (token, logprob) in enumerate(zip(token_B.tolist(), logprob_B.tolist(), strict=True)):
            if not self.ended_B[row]:
                self.tokens_B_T[row].append(token)
                self.logprobs_B_T[row].append(logprob)
                self.ended_B[row] = token in self.ends or self._at_stop(row)
        return torch.full_like(logits_BV, -torch.inf).scatter_(1, token_B[:, None], 0.0)

    def ended(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:  # noqa: ARG002
        """The stopping criterion: (B,) booleans."""
        stop = self.interrupted()
        return torch.tensor([stop or ended for ended in self.ended_B], device=input_ids.device)

    def _sample(self, logits_BV: torch.Tensor) -> torch.Tensor:
        if self.sampling.temperature == 0:
            return logits_BV.argmax(dim=-1)
        probs_BV = torch.softmax(logits_BV.double() / self.sampling.temperature, dim=-1)
        if self.sampling.top_p < 1:
            probs_BV = _nucleus(probs_BV, self.sampling.top_p)
        cumulative_BV = probs_BV.cumsum(dim=-1)
        uniform_B = torch.tensor([stream.random() for stream in self.streams_B], dtype=torch.float64)
        target_B1 = uniform_B.to(logits_BV.device)[:, None] * cumulative_BV[:, -1:]
        return torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0].clamp(max=logits_BV.shape[1] - 1)

    def _at_stop(self, row: int) -> bool:
        if not self._tail:
            return False
        text = self.decode(self.tokens_B_T[row][-self._tail :])
        return any(stop in text for stop in self.sampling.stop)


def _nucleus(probs_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the likeliest tokens that reach `top_p` together (Holtzman et al. 2020, eq. 2). Not normalised."""
    sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True)
    sorted_BV[sorted_BV.cumsum(dim=-1) - sorted_BV >= top_p] = 0.0
    return torch.zeros_like(probs_BV).scatter_(1, order_BV, sorted_BV)
