"""The rows that reached the loss of a cluster run, as `tests/spying` wrote them down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stepgym.trainers.samples import Term


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """One sequence."""

    tokens: tuple[int, ...]
    trained: tuple[bool, ...]
    """Which of `tokens` are learned from."""
    old_logprobs: tuple[float, ...]
    """The ratio's denominators, of the trained tokens alone."""
    off_policy: bool
    term: Term
    batch: int
    """Which micro-batch of the run it came in, counted from 0."""

    @property
    def context(self) -> tuple[int, ...]:
        """What stands before the first trained token."""
        return self.tokens[: self.trained.index(True)]

    @property
    def reply(self) -> tuple[int, ...]:
        """From there on."""
        return self.tokens[self.trained.index(True) :]


def learned_rows(folder: Path) -> list[LearnedRow]:
    """In the order in which they came; those without trained tokens are left out."""
    files = sorted(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns)
    return [row for number, path in enumerate(files) for row in _rows(torch.load(path), number)]


def _rows(batch: dict[str, Any], number: int) -> Iterator[LearnedRow]:
    for place, (ids, mask, trained) in enumerate(
        zip(batch["sequences"], batch["attention_mask"].bool(), batch["action_mask"].bool(), strict=True)
    ):
        of_row = batch["rows"] == place
        if of_row.any():
            moved = torch.cat([torch.tensor([False]), trained])  # what is said of a token stands one place before it
            yield LearnedRow(
                tokens=tuple(ids[mask].tolist()),
                trained=tuple(moved[mask].tolist()),
                old_logprobs=tuple(batch["old_logprobs"][of_row].tolist()),
                off_policy=bool(batch["off_policy"][of_row].any()),
                term=tuple(Term)[int(batch["terms"][of_row][0])],
                batch=number,
            )
