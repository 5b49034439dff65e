"""How runs decide a claim. Arms are compared seed by seed, since those of a seed began as the same model.

A claim held if every seed shows it, and failed if no seed does. If seeds disagree, or there are fewer than two, it is
undecided. This is no test of significance: three seeds that agree by chance are one case in four for a coin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from stepgym.trainers.studies.results import Results, spread
from stepgym.trainers.studies.study import Finding, Verdict

MARGIN = 0.02
"""A smaller difference between two shares of solved problems is none."""

Check = Callable[[Results], Finding]


def higher(better: str, worse: str, measure: str = "greedy", *, margin: float = MARGIN) -> Check:
    """Whether one arm's measure is above another's by more than `margin`."""

    def check(results: Results) -> Finding:
        seeds = results.seeds(better, worse)
        a = [results.value(better, measure, seed) for seed in seeds]
        b = [results.value(worse, measure, seed) for seed in seeds]
        shown = [x > y + margin for x, y in zip(a, b, strict=True) if not (math.isnan(x) or math.isnan(y))]
        return Finding(decide(shown), f"{measure}: {better} {spread(a)}, {worse} {spread(b)}; {agreement(shown)}")

    return check


def at_least(arm: str, measure: str, bound: float) -> Check:
    """Whether an arm's measure reaches `bound`."""
    return _bounded(arm, measure, lambda value: value >= bound, f"at least {bound:g}")


def at_most(arm: str, measure: str, bound: float) -> Check:
    """Whether an arm's measure stays within `bound`."""
    return _bounded(arm, measure, lambda value: value <= bound, f"at most {bound:g}")


def both(*checks: Check) -> Check:
    """Whether several hold: failed if one fails, undecided if one is and none failed."""

    def check(results: Results) -> Finding:
        findings = [one(results) for one in checks]
        verdicts = {finding.verdict for finding in findings}
        worst = next((v for v in (Verdict.FAILED, Verdict.UNDECIDED) if v in verdicts), Verdict.HELD)
        return Finding(worst, ". ".join(finding.numbers for finding in findings))

    return check


def decide(shown: Sequence[bool]) -> Verdict:
    """The verdict of seeds that each show a claim or do not."""
    if len(shown) < 2 or len(set(shown)) > 1:
        return Verdict.UNDECIDED
    return Verdict.HELD if shown[0] else Verdict.FAILED


def agreement(shown: Sequence[bool]) -> str:
    """In how many seeds it was so."""
    return f"in {sum(shown)} of {len(shown)} seeds" if shown else "no seed has both"


def _bounded(arm: str, measure: str, fits: Callable[[float], bool], wanted: str) -> Check:
    def check(results: Results) -> Finding:
        values = [results.value(arm, measure, seed) for seed in results.seeds(arm)]
        shown = [fits(value) for value in values if not math.isnan(value)]
        return Finding(decide(shown), f"{measure} of {arm} {wanted}: {spread(values)}; {agreement(shown)}")

    return check
