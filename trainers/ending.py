"""What ends a reply: the end token, or a string that a person asked to stop at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from stepgym.trainers.tokenizer import CharTokenizer


@dataclass(frozen=True, slots=True)
class Ending:
    """Where replies end, in terms of tokens. Most replies are decided by their last token, without reading text."""

    tokens: frozenset[int] = frozenset({CharTokenizer.end})
    """Each of these ends a reply."""
    maybe: frozenset[int] = frozenset()
    """After one of these, and only then, a stop string may be complete: ask `reached`."""
    stop: tuple[str, ...] = ()
    tokenizer: CharTokenizer | None = None
    """Reads the reply for `reached`; needed where there are `maybe` tokens."""

    @classmethod
    def at(cls, stop: Sequence[str], tokenizer: CharTokenizer) -> Self:
        """At the end token, and where one of the `stop` strings is complete."""
        texts = {token: tokenizer.decode([token]) for token in range(len(tokenizer))}
        ends = {token for token, text in texts.items() if any(string in text for string in stop)} | {tokenizer.end}
        # The token that completes a string holds its last character.
        maybe = {token for token, text in texts.items() if any(string[-1:] in text for string in stop)} - ends
        several = tuple(string for string in stop if len(string) > 1)
        return cls(frozenset(ends), frozenset(maybe) if several else frozenset(), several, tokenizer)

    def reached(self, reply: Sequence[int]) -> bool:
        """Whether the last of these tokens completes a stop string."""
        if self.tokenizer is None:
            return False
        tail = self.tokenizer.decode(reply[-max(map(len, self.stop)) :])  # a token is at least one character
        return any(string in tail for string in self.stop)


AT_END = Ending()
"""At the end token alone."""
