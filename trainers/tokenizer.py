"""A character tokenizer with a few longer pieces.

Not a subword tokenizer: it learns nothing and needs no file. A token is a character, or one of a few strings worth a
single token (``\\boxed{``). It reads any text over its alphabet and writes back exactly what it read.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from stepgym.errors import PolicyError

ALPHABET = string.printable[:95] + "\n"
PIECES = ("\\boxed{",)


class CharTokenizer:
    """Text to token ids and back, longest piece first.

    Ids: 0 is the end of a reply, then come `pieces`, then the characters of `alphabet`. Padding needs no id of its own:
    it is never looked at.
    """

    end = 0

    def __init__(self, alphabet: str = ALPHABET, pieces: Sequence[str] = PIECES) -> None:
        self.alphabet, self.pieces = alphabet, tuple(pieces)
        self._texts = ["", *self.pieces, *alphabet]
        self._ids = {text: token for token, text in enumerate(self._texts) if text}
        longest_first = sorted(self.pieces, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)

    def __len__(self) -> int:
        return len(self._texts)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without an end. Raises `PolicyError` at a character outside the alphabet."""
        try:
            return [self._ids[piece] for piece in self._pattern.findall(text)]
        except KeyError as error:
            where = text.index(error.args[0])
            raise PolicyError(
                f"the model's alphabet lacks {error.args[0]!r} (character {where} of {text[:40]!r}); "
                "use tasks written in its alphabet, or train a model with a wider one"
            ) from None

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; the end has none."""
        return "".join([self._texts[token] for token in tokens])
