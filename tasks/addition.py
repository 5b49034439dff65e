"""Column addition with written carries: small enough for a model trained from scratch on a CPU.

The prompt is ``4821+7738=`` and a solution adds the columns from the right, each step ending with ``;``:

    1+8+0=9,0;  2+3+0=5,0;  8+7+0=5,1;  4+7+1=2,1;  \\boxed{12559}

A step reads: upper digit + lower digit + carry in = digit written, carry out. The steps joined without anything between
them are the whole solution. The level is the number of digits.
"""

from __future__ import annotations

import random

from stepgym.records import Task


def addition(rng: random.Random, level: int, /) -> Task:
    """The sum of two numbers of `level` digits each."""
    low = 10 ** (level - 1) if level > 1 else 0
    upper, lower = rng.randrange(low, 10**level), rng.randrange(low, 10**level)
    columns = [(int(a), int(b)) for a, b in zip(reversed(str(upper)), reversed(str(lower)), strict=True)]
    steps = []
    carry = 0
    for a, b in columns:
        total = a + b + carry
        steps.append(f"{a}+{b}+{carry}={total % 10},{total // 10};")
        carry = total // 10
    return Task(
        id="",
        prompt=f"{upper}+{lower}=",
        answer=str(upper + lower),
        steps=(*steps, f"\\boxed{{{upper + lower}}}"),
        hint=";".join(f"{a}+{b}" for a, b in columns),
        subquestions=tuple(f"{a}+{b}" for a, b in columns),
        meta={"level": level, "joint": ""},
    )
