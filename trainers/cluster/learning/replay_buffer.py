"""A step's rows, laid out as the recipe's minibatches.

Every process holds as many rows as every other. They are split into `Recipe.minibatches` parts, anew in every epoch;
part k of all processes together is one minibatch, whose gradient is accumulated over micro-batches that fit in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.replay_buffer import NaiveReplayBuffer
from torch import Tensor, distributed

from stepgym.trainers.batches import minibatches, sample_weights
from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.learning.experience import Row, row_of


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """The rows of one forward and backward pass."""

    rows: tuple[Row, ...]
    weights: tuple[float, ...]
    """What one token of each row counts, among the rows of all processes; see `sample_weights`."""
    update: int
    """Which minibatch it is a part of, counted from 0."""

    @property
    def tokens(self) -> int:
        """That are trained."""
        return sum(row.trained_count for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Minibatch:
    """This process's part of one."""

    micro_batches: tuple[tuple[Row, ...], ...]
    weights: dict[int, float]
    """By the place of the row."""
    tokens: float
    """Of all processes, as `rows`."""
    rows: float


class RecipeReplayBuffer(NaiveReplayBuffer):
    """Lays out all epochs of one call of ``ppo_train``, one after the other."""

    def __init__(self, job: Job, *, packing: bool) -> None:
        """With `packing` rows stand one behind the other, so that nothing is padded."""
        super().__init__(1, packing_samples=packing, dynamic_batch=True)
        self.recipe, self.seed = job.recipe, job.config.seed
        self.micro_batches: list[MicroBatch] = []
        self.updates = 0
        """Optimiser updates of the layout."""
        self.tokens = 0.0
        """Trained tokens of the layout, of all processes and epochs."""
        self.layouts = 0

    def setup_dynamic_batch(self, strategy: Any) -> None:
        """Lay out the rows that there are. A minibatch without trained tokens in any process is left out."""
        ranks = Ranks(strategy)
        rows = [row_of(item, place) for place, item in enumerate(self.items)]
        if ranks.most(len(rows)) != -ranks.most(-len(rows)):
            raise RuntimeError(f"every process must hold as many rows as every other, and one holds {len(rows)}")
        self.layouts += 1
        parts = [
            part
            for epoch in range(self.recipe.epochs)
            for part in minibatches(rows, self.recipe.minibatches, f"{self.seed}/order/{self.layouts}/{epoch}")
        ]
        self._set([made for part in parts if (made := self._minibatch(part, ranks)).tokens])

    def _minibatch(self, part: Sequence[Row], ranks: Ranks) -> _Minibatch:
        trained = [row.trained_count for row in part]
        totals = torch.tensor([sum(trained), sum(count > 0 for count in trained)], dtype=torch.float64)
        tokens, rows = ranks.total(totals).tolist()
        weights = sample_weights(part, self.recipe.normalise, over_all=ranks.total)
        micro_batches = split(part, ranks.budget, packing=self.packing_samples)
        micro_batches = split_further(micro_batches, ranks.most(len(micro_batches)))
        return _Minibatch(
            micro_batches=tuple(micro_batches),
            weights={row.place: weight for row, weight in zip(part, weights, strict=True)},
            tokens=tokens,
            rows=rows,
        )

    def _set(self, updates: Sequence[_Minibatch]) -> None:
        """Under the names that OpenRLHF reads them by: one entry for each micro-batch."""
        each = [(of, rows, number) for number, of in enumerate(updates) for rows in of.micro_batches]
        self.updates, self.tokens = len(updates), sum(of.tokens for of in updates)
        self.micro_batches = [
            MicroBatch(rows=rows, weights=tuple(of.weights[row.place] for row in rows), update=number)
            for of, rows, number in each
        ]
        self.dynamic_indices = [[row.place for row in rows] for _, rows, _ in each]
        self.dynamic_sample_loss_scale = [len(rows) / sum(map(len, of.micro_batches)) for of, rows, _ in each]
        self.dynamic_batch_num_tokens = [of.tokens for of, _, _ in each]
        self.dynamic_global_batch_size = [of.rows for of, _, _ in each]
        self.dynamic_optimizer_step = [int(rows is of.micro_batches[-1]) for of, rows, _ in each]


def end_of_update(engine: Any, last: int) -> None:
    """Tell a DeepSpeed engine whether a micro-batch is the `last` of its minibatch, before it goes through.

    OpenRLHF lets it believe that every one is. Then ZeRO 1 and 2 learn from the last one alone, as each replaces what
    those before had added up (open-instruct's pull request 1498 tells of the same, OpenRLHF's issue 1131 of a crash).
    """
    engine.set_gradient_accumulation_boundary(bool(last))


class Ranks:
    """The data-parallel processes that hold a part of the rows each."""

    def __init__(self, strategy: Any) -> None:
        args = strategy.args
        self.group = strategy.ds_device_mesh["dp"].get_group()
        self.budget: int = args.train.max_tokens_per_gpu * args.ds.ring_attn_size * args.ds.tensor_parallel_size
        """Most tokens of a micro-batch."""

    def total(self, numbers: Tensor) -> Tensor:
        """Added up over all."""
        numbers = numbers.to(torch.cuda.current_device())
        distributed.all_reduce(numbers, group=self.group)
        return numbers.cpu()

    def most(self, number: int) -> int:
        """The largest of all."""
        numbers = torch.tensor([number], device=torch.cuda.current_device())
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX, group=self.group)
        return int(numbers)


def split(rows: Sequence[Row], most: int, *, packing: bool) -> list[tuple[Row, ...]]:
    """Micro-batches of at most `most` tokens, padding counted where there is any, or of one row; longest rows first."""
    batches: list[list[Row]] = []
    taken = 0
    for row in sorted(rows, key=lambda row: -row.length):
        taken += row.length if packing or not batches else batches[-1][0].length
        if not batches or taken > most:
            batches.append([])
            taken = row.length
        batches[-1].append(row)
    return [tuple(batch) for batch in batches]


def split_further(batches: Sequence[tuple[Row, ...]], count: int) -> list[tuple[Row, ...]]:
    """`count` micro-batches, made by halving those with most rows. There must be as many rows."""
    split = list(batches)
    while len(split) < count:
        split.sort(key=len)
        most = split.pop()
        split += [most[: len(most) // 2], most[len(most) // 2 :]]
    return split
