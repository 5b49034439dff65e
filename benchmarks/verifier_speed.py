"""Speed of `MathVerifier` on one core, beside a last-number regex and Math-Verify, in one run.

    python benchmarks/verifier_speed.py

The regex is what the fastest public rewards do: find ``\\boxed``, take out layout and units, compare strings. "Cold"
empties every cache before each pair, so it reads and compares from the text on; "warm" meets each pair again, as the
rollouts of a group do.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import partial

from math_verify import parse, verify

from stepgym.records import Attempt, Task
from stepgym.rewards import MathVerifier
from stepgym.rewards.maths import grammar, normal, polynomial, verifier

PAIRS = [
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{\sqrt3}{2}", r"\sqrt{3}/2"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"\{1,2,3\}", "3,2,1"),
    (r"[0, 1)", r"\left[0,1\right)"),
    (r"(-\infty,2]", r"x \le 2"),
    (r"\left(3,\frac{\pi}{2}\right)", r"(3, \pi/2)"),
    (r"1\frac{1}{2}", "3/2"),
    (r"\frac{1}{\sqrt2+1}", r"\sqrt2-1"),
    ("y=2x+3", "2x-y+3=0"),
    (r"74^\circ", "74"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ \frac{4}{2} \end{pmatrix}"),
    (r"33\%", "0.33"),
    ("1,2,-3", r"-3, 1 \text{ and } 2"),
    (r"2\sin x\cos x", r"\sin 2x"),
    (r"\frac{a+b+1}{c}", r"\frac{1+a+b}{c}"),
]
CACHES = (
    verifier._decided,
    verifier.read_gold,
    grammar.read_answer,
    normal.normal,
    polynomial.factors,
)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\text\{(.*?)\}", r"\1"), (r"\\textbf\{(.*?)\}", r"\1"), (r"\\overline\{(.*?)\}", r"\1"),
        (r"\\(?:left|right|!|,|;| )", ""), (r"\\[dt]frac", r"\\frac"), (r"\^\{?\\circ\}?", ""), (r"\\?%|\\?\$", ""),
        (r"frac([^{])(.)", r"frac{\1}{\2}"), (r"sqrt([^{])", r"sqrt{\1}"), (r"(?<=\d),(?=\d{3})", ""),
        (r"\b(?:dollars|meters|feet|hours|minutes|cents|degrees|square|units|points|cm|mph|miles|inches)\b", ""),
    )
]  # fmt: skip


def regex(attempt: Attempt) -> bool:
    """The last box, normalised, as a string."""
    found = _BOXED.findall(attempt.text)
    return bool(found) and normalised(found[-1]) == normalised(attempt.task.answer)


def normalised(answer: str) -> str:
    """`answer` without layout and units."""
    answer = answer.split("=")[-1]
    for pattern, replacement in _RULES:
        answer = pattern.sub(replacement, answer)
    return answer.strip().rstrip(".")


def per_second(work: Callable[[], object], count: int, seconds: float = 1.0) -> float:
    """Items a second of CPU time, where `work` does `count` items."""
    work()
    started, rounds = time.process_time(), 0
    while time.process_time() - started < seconds:
        work()
        rounds += 1
    return count * rounds / (time.process_time() - started)


def without_caches(equal: Callable[[str, str], object], pairs: Sequence[tuple[str, str]]) -> None:
    """Compare each pair with empty caches."""
    for gold, answer in pairs:
        for cache in CACHES:
            cache.cache_clear()
        equal(gold, answer)


def each(function: Callable[..., object], items: Sequence[tuple[object, ...]]) -> None:
    """Apply `function` to every item."""
    for item in items:
        function(*item)


def library(gold: str, answer: str) -> bool:
    """Math-Verify, its time-outs off, both sides in a box."""
    sides = [parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer)]
    return bool(verify(*sides, timeout_seconds=None))


def row(title: str, rate: float, base: float) -> None:
    """One line of the table."""
    print(f"  {title:44}{rate:>12,.0f} /s {rate / base:>9.2f}x")


def main() -> None:
    """Print the tables."""
    logging.disable(logging.WARNING)  # the library's, about its time-outs
    ours = MathVerifier()
    texts = [f"Adding them up gives {n} in all, so the answer is \\boxed{{{n}}}." for n in range(500)]
    attempts = [(Attempt(task=Task(id="", prompt="", answer="204"), text=text),) for text in texts]
    bare = [("204", str(n)) for n in range(500)]
    print("integer answers (the second column: times the regex)")
    base = per_second(partial(each, regex, attempts), len(attempts))
    row("regex and string comparison, whole call", base, base)
    row("MathVerifier, whole call", per_second(partial(each, ours, attempts), len(attempts)), base)
    row("MathVerifier.equal", per_second(partial(each, ours.equal, bare), len(bare)), base)
    row("Math-Verify", per_second(partial(each, library, bare[:50]), 50), base)

    for gold, answer in PAIRS:
        assert ours.equal(gold, answer).value == 1.0, (gold, answer)
    agreed = sum(library(gold, answer) for gold, answer in PAIRS)
    print(f"\n{len(PAIRS)} equal pairs in other forms (the second column: times Math-Verify, which accepts {agreed})")
    base = per_second(partial(each, library, PAIRS), len(PAIRS))
    row("Math-Verify", base, base)
    row("MathVerifier, cold", per_second(partial(without_caches, ours.equal, PAIRS), len(PAIRS)), base)
    row("MathVerifier, warm", per_second(partial(each, ours.equal, PAIRS), len(PAIRS)), base)


if __name__ == "__main__":
    main()
