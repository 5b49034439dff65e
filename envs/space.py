"""The space of texts: any Unicode string up to a length.

`gymnasium.spaces.Text` names its alphabet character by character. Its default alphabet rejects LaTeX, and given all of
Unicode it takes seconds and hundreds of megabytes to build. `TextSpace` has the same interface and builds no table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, overload

import gymnasium
from gymnasium.spaces import Text

MAX_LENGTH = 2**20
"""Characters in the longest text of a `TextSpace`, unless it is told otherwise."""

SAMPLED_LENGTH = 64
"""Characters in the longest text that `TextSpace.sample` makes."""

SAMPLED = "".join(map(chr, range(32, 127))) + "\n\t\\{}^_$éßπθ√≤∑∞°中文"
"""What samples are made of: the characters that mathematics and code are written in, and some from further off."""


class TextSpace(Text):
    """Every `str` of at most `max_length` characters, the empty one included.

    Lone surrogates belong to it: a tokenizer or a file name can put them into a `str`, and an environment has to bear
    whatever an agent says. It subclasses `Text` for the sake of Gymnasium's functions that dispatch on the space's type
    (batching, flattening, concatenating).
    """

    def __init__(self, max_length: int = MAX_LENGTH, *, seed: int | None = None) -> None:
        # Text's own constructor would build the tables of its alphabet.
        gymnasium.Space.__init__(self, dtype=str, seed=seed)
        self.min_length = 0
        self.max_length = max_length

    def contains(self, x: Any) -> bool:
        """Whether `x` is a `str` that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text (up to `SAMPLED_LENGTH` characters), from the space's own generator.

        Raises `ValueError` for a mask: an alphabet of a million characters has none.
        """
        if mask is not None or probability is not None:
            raise ValueError("a TextSpace is sampled without mask or probability")
        length = self.np_random.integers(min(self.max_length, SAMPLED_LENGTH) + 1)
        return "".join(SAMPLED[i] for i in self.np_random.integers(len(SAMPLED), size=length))

    def __repr__(self) -> str:
        return f"TextSpace({self.max_length})"

    def __eq__(self, other: object, /) -> bool:
        return isinstance(other, TextSpace) and self.max_length == other.max_length

    __hash__ = None  # type: ignore[assignment]  # as every Gymnasium space: equal by value, with a mutable generator

    @property
    def character_set(self) -> Any:
        """All of Unicode, as a container."""
        return _UNICODE

    @property
    def character_list(self) -> Any:
        """All of Unicode, by code point."""
        return _UNICODE

    def character_index(self, char: str) -> Any:
        """The code point of `char`: flattened texts are arrays of code points."""
        return ord(char)

    @property
    def characters(self) -> str:
        """Gymnasium fills empty batches with the first of these."""
        return " "


class _Unicode(Sequence[str]):
    """The alphabet, without the table: position i holds code point i."""

    def __len__(self) -> int:
        return sys.maxunicode + 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return [chr(i) for i in range(*index.indices(len(self)))] if isinstance(index, slice) else chr(index)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and len(value) == 1


_UNICODE = _Unicode()
