"""Math-Verify as its authors run it, for the accuracy benchmark: called in a worker process."""

from __future__ import annotations

from math_verify import parse, verify


def judge(case: tuple[str, str, str]) -> bool:
    """(gold, answer, form) -> accepted. Texts go in as they are, bare answers in a box."""
    gold, answer, form = case
    if form == "bare":
        gold, answer = rf"\boxed{{{gold}}}", rf"\boxed{{{answer}}}"
    target = parse(gold, parsing_timeout=None)
    return bool(verify(target, parse(answer, parsing_timeout=None), timeout_seconds=None))
