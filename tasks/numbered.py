"""Solutions written as numbered, titled steps, the form of SRL's expert data.

    1. **Factor the left side**: …
    2. **Compare coefficients** …

SRL (arXiv 2510.25992, section 5.1) cuts such solutions at the titles and leaves out those that have fewer than two.
"""

from __future__ import annotations

import re

TITLE = re.compile(r"^\d+\.[ \t]*\*\*[^*\n]+\*\*", re.MULTILINE)


def numbered_steps(solution: str) -> tuple[str, ...]:
    """The steps, each from its number to the next; none if fewer than two lines begin with a number and a bold title.

    What stands before the first title belongs to no step. Numbers may start again, as in a part (b).
    """
    starts = [match.start() for match in TITLE.finditer(solution)]
    if len(starts) < 2:
        return ()
    return tuple(solution[start:end].strip() for start, end in zip(starts, [*starts[1:], len(solution)], strict=True))
