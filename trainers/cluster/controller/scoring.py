"""What the models of a run say of samples, asked of the processes that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from stepgym.trainers.samples import Sample


@dataclass(frozen=True, slots=True)
class Scorers:
    """OpenRLHF's groups of actors; None where a run has no such model."""

    actor_group: Any
    critic_group: Any
    reference_group: Any
    pad: int
    """The token that rows are padded with."""
    max_tokens: int
    """Most tokens of one forward pass, padding counted."""

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """log π of each of a sample's tokens under the policy as it is; 0 where it is not trained."""
        return self._scored(self.actor_group, samples)

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """The same under the policy that the run started from."""
        return self._scored(self.reference_group, samples)

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects at each of a sample's tokens; 0 where it is not trained."""
        return self._scored(self.critic_group, samples)

    def _scored(self, group: Any, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        import ray

        if not samples:
            return []
        batches = _batches(samples, self.max_tokens)
        actors = len(group._actor_handlers) // group.duplicate_actors
        # ZeRO-3 gathers weights in every forward pass, so that all actors must do as many.
        asked = [*batches, *[batches[-1][:1]] * (-len(batches) % actors)]
        rows = [[torch.tensor(samples[i].context + samples[i].tokens) for i in batch] for batch in asked]
        answers = ray.get(
            group.async_run_method_batch(
                "forward",
                sequences=[pad_sequence(of, batch_first=True, padding_value=self.pad) for of in rows],
                attention_mask=[pad_sequence([torch.ones_like(row) for row in of], batch_first=True) for of in rows],
                action_mask=[_masks([samples[i] for i in batch]) for batch in asked],
            )
        )
        ray.get(group.async_run_method("empty_cache"))  # for whoever shares the GPU
        scores = [scored for chunk in answers[:: group.duplicate_actors] for scored in chunk]
        numbers: dict[int, tuple[float, ...]] = {}
        for batch, scored in zip(batches, scores[: len(batches)], strict=True):
            for i, row in zip(batch, scored.tolist(), strict=True):
                before = len(samples[i].context) - 1
                numbers[i] = tuple(row[before : before + len(samples[i].tokens)])
        return [numbers[i] for i in range(len(samples))]


def _batches(samples: Sequence[Sample], max_tokens: int) -> list[list[int]]:
    """Of samples of like length, by their positions."""
    batches: list[list[int]] = []
    for i in sorted(range(len(samples)), key=lambda i: -samples[i].length):
        if not batches or (len(batches[-1]) + 1) * samples[batches[-1][0]].length > max_tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def _masks(samples: Sequence[Sample]) -> torch.Tensor:
    """(B, T - 1): the trained tokens."""
    rows = [torch.tensor((False,) * (len(sample.context) - 1) + sample.trained) for sample in samples]
    return pad_sequence(rows, batch_first=True).long()
