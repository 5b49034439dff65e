"""English number words, put into digits."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_MANY = {"halves": 2} | {f"{part}s": number for part, number in _PARTS.items() if part != "half"}
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_WORD = "|".join(sorted([*_VALUES, *_SCALES], key=len, reverse=True))
_RUN = re.compile(
    rf"\b(?P<sign>(?:minus|negative)\s+)?(?P<number>(?:{_WORD})(?:(?:[\s-]|\sand\s)(?:{_WORD})\b)*)\b"
    rf"(?:[\s-](?P<part>{'|'.join([*_PARTS, *_MANY])})\b)?|\bhalf\b",
    re.IGNORECASE,
)


def in_digits(text: str, *, lone_one: bool = True) -> str:
    """`text` with its number words in digits: ``minus twenty-one`` is -21, ``two thirds`` 2/3 and ``half`` 1/2.

    Without `lone_one` a ``one`` that belongs to no longer number stays, for it is a pronoun more often than a number.
    """

    def digits(run: re.Match[str]) -> str:
        if run["number"] is None:
            return "1/2"
        numbers = _numbers(re.findall(_WORD, run["number"].lower()))
        part = (run["part"] or "").lower()
        below = _PARTS.get(part) if numbers[-1] == 1 else _MANY.get(part)
        if not below and not lone_one and run["number"].lower() == "one":
            return run[0]
        last = f"{numbers[-1]}/{below}" if below else f"{numbers[-1]} {part}".rstrip()
        return ("-" if run["sign"] else "") + " ".join([*map(str, numbers[:-1]), last])

    return _RUN.sub(digits, text)


def _numbers(words: Sequence[str]) -> list[int]:
    """The numbers that `words` are: one, or several that follow each other, such as ``two three``."""
    numbers: list[int] = []
    whole, current, room = 0, 0, 1_000_000
    for word in words:
        if word in _SCALES:
            room = _SCALES[word]
            current = max(current, 1) * room
            if room > 100:
                whole, current = whole + current, 0
            continue
        value = _VALUES[word]
        if value >= room:  # it does not go on with the number before it
            numbers.append(whole + current)
            whole, current = 0, 0
        current += value
        room = 10 if value >= 20 else 1
    return [*numbers, whole + current]
