"""Regular expressions that no text can stall.

Python's matcher tries, in the worst case, every way in which a pattern can divide a text, and cannot be interrupted.
The pattern is the author's and the text is a model's, so the number of ways is bounded before any text is seen: a
repetition over n characters has up to n + 1, alternatives add, a sequence multiplies, and a choice inside a repetition
has exponentially many, which is refused. Possessive repetitions (``a*+``) never reconsider.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from stepgym.errors import ConfigError

MOST_WAYS = 50_000_000
"""About a second of matching."""

_ADVICE = "simplify it, make repetitions possessive (`*+`), use plain tag rules, or allow fewer characters"


@lru_cache(128)
def compile_bounded(pattern: str, characters: int) -> re.Pattern[str]:
    """Compile `pattern` for full matches of texts of at most `characters`; a dot matches newlines too.

    Raises `ConfigError` if it is not a regular expression, or may try more than `MOST_WAYS` ways.
    """
    try:
        ways = _ways_of_sequence(_parser.parse(pattern, re.DOTALL), characters)
        compiled = re.compile(pattern, re.DOTALL)
    except (re.error, OverflowError) as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}") from error
    if ways > MOST_WAYS:
        raise ConfigError(f"a text of {characters} characters could stall the pattern {pattern!r}; {_ADVICE}")
    return compiled


def _ways_of_sequence(items: Iterable[Any], characters: int) -> float:
    return math.prod(_ways(str(kind), value, characters) for kind, value in items)


def _ways(kind: str, value: Any, characters: int) -> float:
    """Ways in which one node of the parser's tree can match; infinite where there is no useful bound."""
    match kind:
        case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY" | "AT":
            return 1
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
            return _ways_of_sequence(value[-1], characters)
        case "ATOMIC_GROUP":
            return _ways_of_sequence(value, characters)
        case "BRANCH":
            return sum(_ways_of_sequence(branch, characters) for branch in value[1])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, body = value
            inner = _ways_of_sequence(body, characters)
            if kind == "POSSESSIVE_REPEAT":
                return inner
            if most > 1 and inner > 1:
                return math.inf
            return inner * float(min(most, characters) - min(least, characters) + 1)
        case _:  # references to groups, conditions on groups
            return math.inf
