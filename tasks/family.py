"""Procedural families: as many tasks as wanted, from a seed, with answer, expert steps, hint and sub-questions.

A family draws one task at a time from its own generator. What is common to all of them is here: seeding, leaving out
repeats, ids, and the division into a training and a held-out half.

A task's id is a digest of its prompt. So a problem has one id whichever seed found it, the first n tasks of a seed are
the same however many are asked for, and the split is a property of the problem: nothing drawn from ``split=train`` with
any seed is ever drawn from ``split=test`` with any other.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Protocol
from urllib.parse import parse_qsl

from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.registry import unknown
from stepgym.tasks import FAMILIES

MAX_COUNT = 1_000_000
MAX_LEVEL = 20
HELD_OUT = 5
"""One problem in this many belongs to the test split."""
SETTINGS = ("count", "seed", "level", "split")
PATIENCE = 2_000
"""Draws in a row that bring nothing new before a family's supply counts as used up."""


class Family(Protocol):
    """Draws one task. The id is left empty: `generate` gives it."""

    def __call__(self, rng: random.Random, level: int, /) -> Task:
        """A task of difficulty `level`, from 1 to `MAX_LEVEL`, made of nothing but what `rng` gives."""


class Split(StrEnum):
    """Which part of a family's problems to draw from."""

    ALL = "all"
    """Every problem."""
    TRAIN = "train"
    """Four problems in five."""
    TEST = "test"
    """The fifth, for evaluation: no problem of it is in ``train``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """Which tasks of a family: what may stand behind the ``?`` of ``arithmetic?level=3&count=256``."""

    family: str
    count: int = 64
    seed: int = 0
    level: int = 1
    split: Split = Split.ALL

    @classmethod
    def parse(cls, text: str) -> FamilySpec:
        """The spec that ``family?key=value&…`` stands for. Raises `ConfigError` or `UnknownNameError`."""
        family, _, query = text.partition("?")
        FAMILIES[family]  # raises for a name it lacks
        given: dict[str, str] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key in given:
                raise ConfigError(f"{text!r}: {key} is given twice")
            if key not in SETTINGS:
                raise ConfigError(f"{text!r}: {unknown('setting', key, SETTINGS)}")
            given[key] = value
        whole = {key: _whole(text, key, value) for key, value in given.items() if key != "split"}
        return cls(family=family, split=_split(given.get("split", Split.ALL)), **whole)

    def tasks(self, limit: int | None = None) -> tuple[Task, ...]:
        """The tasks it stands for; at most the first `limit` of them."""
        count = self.count if limit is None else min(limit, self.count)
        return generate(self.family, count=count, seed=self.seed, level=self.level, split=self.split)


def _whole(text: str, key: str, value: str) -> int:
    if not (value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 18):
        raise ConfigError(f"{text!r}: {key} must be a whole number, not {value!r}")
    return int(value)


def _split(name: str) -> Split:
    if name not in list(Split):
        raise ConfigError(f"split must be one of {', '.join(Split)}, not {name!r}")
    return Split(name)


def generate(
    family: str, *, count: int, seed: int = 0, level: int = 1, split: Split | str = Split.ALL
) -> tuple[Task, ...]:
    """`count` different tasks of a family, the same ones for the same arguments on every machine.

    Raises `UnknownNameError` for a family that is not in `FAMILIES`, and `ConfigError` for a setting out of range, or
    for more tasks than there are: there are only 100 sums of two one-digit numbers.
    """
    part = _split(split)
    for name, value, low, high in (("count", count, 0, MAX_COUNT), ("level", level, 1, MAX_LEVEL)):
        if not low <= value <= high:
            raise ConfigError(f"{family}: {name} must be between {low} and {high}, not {value}")
    tasks = tuple(islice(_draw(family, seed, level, part), count))
    if len(tasks) < count:
        raise ConfigError(
            f"{family}: found only {len(tasks)} different tasks of level {level} (split: {part}), not {count}; "
            "ask for fewer, or a higher level"
        )
    return tasks


def _draw(family: str, seed: int, level: int, split: Split) -> Iterator[Task]:
    draw: Family = FAMILIES.load(family)
    rng = random.Random(f"{family}/{level}/{seed}")
    seen: set[str] = set()
    misses = 0
    while misses < PATIENCE:
        task = draw(rng, level)
        digest = hashlib.sha256(task.prompt.encode()).hexdigest()
        if digest in seen:
            misses += 1
            continue
        seen.add(digest)
        misses = 0
        if split in (Split.ALL, _split_of(digest)):
            yield replace(task, id=f"{family}-{level}-{digest[:12]}")


def _split_of(digest: str) -> Split:
    # The digits that the id does not show, so that ids of the two splits look alike.
    return Split.TEST if int(digest[-8:], 16) % HELD_OUT == 0 else Split.TRAIN
