"""Format rules: does a text have the shape that was asked for?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stepgym.errors import ConfigError
from stepgym.records import Attempt, Score
from stepgym.rewards.bounded_pattern import compile_bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`ok` if a text keeps every rule that is set, else `broken`. Whitespace around the text is ignored.

    Tags are plain strings, found literally. A2D's rule for sub-questions (arXiv 2602.00759, appendix 7) and SRL's for
    an action (arXiv 2510.25992, appendix B.2.1):

        Format(starts_with="<subquestion>", filled=("<subquestion>",), min_characters=11)
        Format(starts_with="<think>", once=("<think>", "</think>"), filled=("</think>",))
    """

    starts_with: str = ""
    """What the text begins with."""
    once: tuple[str, ...] = ()
    """Tags that occur exactly once each, in this order."""
    filled: tuple[str, ...] = ()
    """Tags after each of which text follows, before the next tag of this list or of `once`, and before the end."""
    forbidden: tuple[str, ...] = ()
    """Strings that do not occur."""
    pattern: str = ""
    """A regular expression that the whole text matches; its dot matches newlines. It must have few ways to match
    `max_characters` characters, so that no text can stall it: see `stepgym.rewards.bounded_pattern`."""
    min_characters: int = 1
    max_characters: int = 65_536
    ok: float = 1.0
    """Value of a text that keeps the rules."""
    broken: float = 0.0
    """Value of one that does not."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_characters <= self.max_characters:
            raise ConfigError(
                f"Format: min_characters is {self.min_characters} and max_characters {self.max_characters}; "
                "the first must be at least 0 and at most the second"
            )
        if "" in (*self.once, *self.filled, *self.forbidden):
            raise ConfigError("Format: an empty string occurs everywhere and cannot be a tag")
        compile_bounded(self.pattern, self.max_characters)

    def __call__(self, attempt: Attempt, /) -> Score:
        """`ok` or `broken`; `why` names the first rule that is broken."""
        fault = self.fault(attempt.text)
        return Score(self.broken, why=fault) if fault else Score(self.ok, why="keeps the format")

    def fault(self, text: str) -> str:
        """The first rule that `text` breaks, as a clause for a person; empty if it breaks none."""
        return next(self._faults(text.strip()), "")

    def _faults(self, text: str) -> Iterator[str]:
        if not self.min_characters <= len(text) <= self.max_characters:
            yield f"{len(text)} characters, not {self.min_characters} to {self.max_characters}"
            return  # the rules below cost time in proportion to the text
        if not text.startswith(self.starts_with):
            yield f"does not begin with {self.starts_with!r}"
        for tag in self.forbidden:
            if tag in text:
                yield f"contains {tag!r}"
        yield from self._misplaced(text)
        for tag in self.filled:
            if self._has_empty(text, tag):
                yield f"nothing follows {tag!r}"
        if self.pattern and not compile_bounded(self.pattern, self.max_characters).fullmatch(text):
            yield f"does not match {self.pattern!r}"

    def _misplaced(self, text: str) -> Iterator[str]:
        end = 0
        for tag in self.once:
            if (count := text.count(tag)) != 1:
                yield f"has {tag!r} {count} times, not once"
            elif (at := text.find(tag)) < end:
                yield f"{tag!r} is out of order"
            else:
                end = at + len(tag)

    def _has_empty(self, text: str, tag: str) -> bool:
        following = (part.lstrip() for part in text.split(tag)[1:])
        return any(not part or part.startswith((*self.filled, *self.once)) for part in following)
