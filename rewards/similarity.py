"""Sequence similarity to the expert's step: the reward of SRL."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.records import Attempt, Score, Task
from stepgym.registry import unknown
from stepgym.rewards import _matching

if TYPE_CHECKING:
    from stepgym.rewards._matching import _Index

Unit = Literal["characters", "words", "lines"]

_UTF32 = f"utf-32-{'le' if sys.byteorder == 'little' else 'be'}"
_SPLIT: Mapping[str, Callable[[str], list[str]]] = {"words": str.split, "lines": str.splitlines}
_CACHED_EXPERTS = 32
_CACHED_CHARACTERS = 8_192
"""Longer experts are indexed anew each time, so that the cache stays below 40 MB whatever the tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSimilarity:
    """2M/T between an action and the expert's action at the same position (SRL, arXiv 2510.25992, section 3.2).

    T is the number of units in both texts together and M the number in the blocks that Ratcliff and Obershelp's
    matching takes from each, so the value lies in [0, 1]. It is, to the last bit, what difflib gives for
    ``SequenceMatcher(None, action, expert, autojunk=...).ratio()``, in time O((|a| + |b|) √|b|) for every input. The
    measure is not symmetric: the expert is the second sequence, so that what counts as junk depends on the expert
    alone, and what is computed for the expert once serves a whole group of rollouts.

    An action that is empty, or longer than `cap` characters, breaks the format and earns `malformed`.
    """

    autojunk: bool = False
    """difflib's own default is True: in an expert of 200 units or more, a unit that makes up over 1 % of it (most
    letters) matches only beside another match. The cliff at 200 is seldom wanted; True is for comparing with numbers
    that were computed so."""
    unit: Unit = "characters"
    """What is compared: characters, words (`str.split`), or lines (`str.splitlines`)."""
    length_factor: float = 4.0
    """An action may have this many times the characters of the expert's ..."""
    length_slack: int = 512
    """... and this many more."""
    malformed: float = -1.0
    """Value of an action that breaks the format."""

    def __post_init__(self) -> None:
        if self.unit != "characters" and self.unit not in _SPLIT:
            raise ConfigError(f"SequenceSimilarity: {unknown('unit', self.unit, ('characters', *_SPLIT))}")
        if self.length_factor < 0 or self.length_slack < 0:
            raise ConfigError("SequenceSimilarity: length_factor and length_slack must not be negative")

    def __call__(self, attempt: Attempt, /) -> Score:
        """The similarity of ``attempt.text`` to the expert's step ``attempt.index``.

        Raises `TaskError` for a task without expert steps, and `RewardError` where it has none at that position.
        """
        expert = self._expert(attempt)
        cap = self.cap(expert)
        if not attempt.text.strip():
            return Score(self.malformed, why="malformed: the action is empty")
        if len(attempt.text) > cap:
            return Score(self.malformed, why=f"malformed: {len(attempt.text)} characters, at most {cap} allowed")
        return Score(self.ratio(attempt.text, expert), why=f"similarity to expert step {attempt.index}")

    def check_task(self, task: Task, /) -> None:
        """Raises `TaskError` if the task has no expert steps."""
        if not task.steps:
            raise TaskError(f"task {task.id!r} has no expert steps to compare with; give it `steps`")

    def cap(self, expert: str) -> int:
        """Most characters that an action compared with `expert` may have."""
        return int(self.length_factor * len(expert)) + self.length_slack

    def ratio(self, a: str, b: str) -> float:
        """``difflib.SequenceMatcher(None, a, b, autojunk=self.autojunk).ratio()`` over `unit`; `b` is the expert.

        No cap applies here. Raises `ValueError` for a text of over 2**24 units.
        """
        make = _cached_expert if len(b) <= _CACHED_CHARACTERS else _Expert.of
        expert = make(b, self.unit, self.autojunk)
        symbols = expert.encode(a)
        total = len(symbols) // 4 + expert.size
        return 2.0 * _matching.count(expert.index, symbols) / total if total else 1.0

    def _expert(self, attempt: Attempt) -> str:
        self.check_task(attempt.task)
        steps = attempt.task.steps
        if not 0 <= attempt.index < len(steps):
            raise RewardError(
                f"task {attempt.task.id!r} has {len(steps)} expert steps, so none at index {attempt.index}; "
                "end the episode with the expert's last step"
            )
        return steps[attempt.index]


@dataclass(frozen=True, slots=True)
class _Expert:
    """An expert text, ready to be compared with many others."""

    index: _Index
    size: int
    """In units."""
    unit: Unit
    vocabulary: Mapping[str, int]
    """Number of each word or line of the expert. Characters are their own numbers."""

    @classmethod
    def of(cls, text: str, unit: Unit, autojunk: bool) -> _Expert:
        if unit == "characters":
            vocabulary: Mapping[str, int] = {}
        else:
            vocabulary = {token: number for number, token in enumerate(dict.fromkeys(_SPLIT[unit](text)))}
        symbols = _encode(text, unit, vocabulary)
        return cls(_matching.index(symbols, autojunk), len(symbols) // 4, unit, vocabulary)

    def encode(self, text: str) -> bytes:
        """The units of `text` as 32-bit numbers; all words or lines that the expert lacks share one."""
        return _encode(text, self.unit, self.vocabulary)


_cached_expert = lru_cache(_CACHED_EXPERTS)(_Expert.of)


def _encode(text: str, unit: Unit, vocabulary: Mapping[str, int]) -> bytes:
    if unit == "characters":
        return text.encode(_UTF32, "surrogatepass")
    return array("I", [vocabulary.get(token, len(vocabulary)) for token in _SPLIT[unit](text)]).tobytes()
