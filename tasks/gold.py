"""Gold answers out of what data sets store: bare, as a verifier compares them, and exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from stepgym.tasks.gsm8k import ANSWER

MAX_DIGITS = 30
"""A whole number with more digits than this keeps its scientific notation."""
DOLLAR = re.compile(r"(?<!\\)\$")
BRACE = re.compile(r"(?P<opens>(?P<box>\\boxed\s*)?\{)|\\.|\}", re.DOTALL)
OPENERS, CLOSERS = "([{", ")]}"


def gold_answer(value: Any, solution: str, *, several: bool = False) -> str:
    """The gold answer in an answer column, or else in the solution's last box; "" if there is none.

    `several` says that the answer lists several: they come joined by a comma and a space, so that ``2500,7500`` is not
    taken for a number.
    """
    return _stored(value, several) or bare(last_boxed(solution))


def _stored(value: Any, several: bool) -> str:
    if isinstance(value, str):
        return bare(_spaced(value) if several else _after_hashes(value))
    if isinstance(value, Sequence):
        return ", ".join(part for item in value if (part := _stored(item, several)))
    return number_text(value) if isinstance(value, int | float | Decimal) else ""


def number_text(number: int | float | Decimal) -> str:
    """A number as one writes it: ``27.0`` is 27, and 0.1 is 0.1 and not its nearest binary fraction.

    True and False keep their names; what is not finite is "".
    """
    if isinstance(number, int):
        return str(number)
    exact = Decimal(repr(number)) if isinstance(number, float) else number
    if not exact.is_finite():
        return ""
    if exact == exact.to_integral_value() and exact.adjusted() < MAX_DIGITS:
        return str(int(exact))
    if -MAX_DIGITS < exact.adjusted() < MAX_DIGITS:
        return f"{exact:f}".rstrip("0").rstrip(".")
    return str(exact).replace("E+", "e").replace("E", "e")


def whole_number(text: str) -> str:
    """A whole number without leading zeros and without ``.0``; any other text as it is."""
    match = re.fullmatch(r"(-?)(\d+)(?:\.0+)?", text)
    return match[1] + (match[2].lstrip("0") or "0") if match else text


def bare(text: str) -> str:
    """Without the dollar signs of math mode (``\\$`` stays), a box around it all, a full stop and outer space."""
    text = _without_stop(DOLLAR.sub("", text).strip())
    inside = boxes(text)
    if len(inside) == 1 and re.fullmatch(r"\\boxed\s*\{", text.removesuffix(f"{inside[0]}}}")):
        text = _without_stop(inside[0].strip())
    return text


def _without_stop(text: str) -> str:
    return text if text.endswith("..") else text.removesuffix(".").rstrip()


def last_boxed(text: str) -> str:
    """What stands in the last ``\\boxed{}`` of a text, "" if there is none."""
    return next(reversed(boxes(text)), "")


def boxes(text: str) -> list[str]:
    """The contents of every ``\\boxed{}`` whose braces close, in order, without boxes in boxes."""
    begun: list[int] = []  # for every open brace, where the box begins that it opens, or -1
    spans: list[slice] = []
    for match in BRACE.finditer(text):
        if match[0] == "}":
            start = begun.pop() if begun else -1
            if start >= 0:
                while spans and spans[-1].start > start:
                    spans.pop()
                spans.append(slice(start, match.start()))
        elif match["opens"]:
            begun.append(match.end() if match["box"] else -1)
    return [text[span] for span in spans]


def _after_hashes(text: str) -> str:
    """GSM8K: the answer stands behind ``####``, with commas between thousands."""
    end = ANSWER.search(text)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", end[1]) if end else text


def _spaced(text: str) -> str:
    """A space behind every comma that stands outside all brackets."""
    depth = 0
    parts = []
    for character in DOLLAR.sub("", text):
        depth += (character in OPENERS) - (character in CLOSERS)
        parts.append(", " if character == "," and depth == 0 else character)
    return re.sub(r", +", ", ", "".join(parts))
