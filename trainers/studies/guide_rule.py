"""Guide's open question: which part of its rule decides whether learning starts at all?

The released rule lets the hinted group replace the failed one, keeps it only if it is mixed, and sets a shaped ratio
against the hinted context. Grouping, ratio, filter and warm start are crossed here, in short runs.

Why the grouping should decide: with p the accuracy of hinted attempts o, b the baseline and the ratio at 1, the
expected gradient is

    E[(r - b) ∇log π(o|q)] = p (1 - p) (E_success - E_failure)[∇log π(o|q)] + (p - b) E[∇log π(o|q)].

Replaced, b = p, and only the contrast of successes with failures is left: what all hinted attempts share cancels.
Pooled with as many failures, b = p/2, which adds imitation of hinted attempts with the weight p/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from stepgym.trainers.studies.claims import agreement, decide
from stepgym.trainers.studies.guide import SHARED
from stepgym.trainers.studies.material import Mix
from stepgym.trainers.studies.results import Results
from stepgym.trainers.studies.study import Arm, Claim, Finding, Sheet, Start, Study, stage

STEPS = 80
STARTED = 0.1
"""A run has started if it solves this share of the held-out problems."""
GROUPINGS = {
    "replace": ("pool=false", "mixed=true"),
    "pool": ("pool=true", "mixed=false"),
    "pool-mixed": ("pool=true", "mixed=true"),
}
RATIOS = {
    "quantile": ("correction=hinted", "shaping=quantile", "gamma=0.9"),
    "constant": ("correction=hinted", "shaping=constant", "gamma=0.1"),
    "clip": ("correction=hinted", "shaping=clip"),
    "one": ("correction=none",),
}
CROSSED = (
    *product(("sharp",), ("replace", "pool"), RATIOS),
    ("sharp", "pool-mixed", "one"),
    *product(("soft",), ("replace", "pool"), ("one",)),
)
"""Start, grouping and ratio of each arm: the first two crossed in full, the others where they may decide."""
WARM = stage("sft", steps=500, warmup=50, cooldown=150, evaluate_every=100)
STARTS = (
    Start(name="sharp", mix=Mix(plain=1500, hinted=1500), training=WARM),
    Start(name="soft", mix=Mix(plain=1500, hinted=1500, guessed=600), training=replace(WARM)),
)
"""The soft one knows the form of a hard solution without a hint, but not its digits."""


def started(results: Results, *levels: str) -> list[bool]:
    """For each run of the arms that have all of these levels, whether it started."""
    arms = [arm.name for arm in results.study.arms if set(levels) <= {level for _, level in arm.factors}]
    return [results.value(arm, "greedy", seed) >= STARTED for arm in arms for seed in results.seeds(arm)]


def sheet(results: Results) -> Sequence[Sheet]:
    """Of how many runs each level of each factor started, alone and for each pair of grouping and ratio."""
    levels = dict.fromkeys(level for arm in results.study.arms for _, level in arm.factors)
    single = [(level, _counted(started(results, level))) for level in levels]
    rows = [(grouping, *(_counted(started(results, grouping, ratio)) for ratio in RATIOS)) for grouping in GROUPINGS]
    return (
        Sheet(f"Runs that solve {STARTED:.0%} or more, by what they have in common", ("", "runs"), tuple(single)),
        Sheet("The same by grouping and ratio", ("", *RATIOS), tuple(rows)),
    )


def none_start(*levels: str) -> Callable[[Results], Finding]:
    """Whether no run with these levels starts."""

    def check(results: Results) -> Finding:
        runs = started(results, *levels)
        did = agreement(runs).replace("seeds", "runs")
        return Finding(decide([not run for run in runs]), f"started {did}")

    return check


def all_start(*levels: str) -> Callable[[Results], Finding]:
    """Whether every run with these levels starts."""

    def check(results: Results) -> Finding:
        runs = started(results, *levels)
        return Finding(decide(runs), f"started {agreement(runs).replace('seeds', 'runs')}")

    return check


def _counted(runs: Sequence[bool]) -> str:
    return f"{sum(runs)} of {len(runs)}" if runs else "–"


STUDY = Study(
    name="guide-rule",
    title="Guide: which part of the rule decides whether it starts",
    hypothesis="The grouping decides: where the hinted group replaces the failed one, what all hinted attempts have in "
    "common has advantages that sum to 0, and that is the skill to be learned.",
    starts=STARTS,
    arms=tuple(
        Arm(
            name=f"{start}-{grouping}-{ratio}",
            about=f"From the {start} start; grouping: {grouping}; ratio: {ratio}.",
            stages=(
                stage("guide-grpo", *SHARED, *GROUPINGS[grouping], *RATIOS[ratio], steps=STEPS, evaluate_every=10),
            ),
            start=start,
            factors=(("start", start), ("grouping", grouping), ("ratio", ratio)),
        )
        for start, grouping, ratio in CROSSED
    ),
    claims=(
        Claim("Where the hinted group replaces the failed one, no run starts.", none_start("replace")),
        Claim("Pooled, with the ratio set to 1, every run starts.", all_start("pool", "one")),
        Claim("Pooled, with the ratio shaped by its quantile, every run starts.", all_start("pool", "quantile")),
        Claim("Pooled, with the ratio shaped by a constant, every run starts.", all_start("pool", "constant")),
        Claim("With the clipped ratio against the hinted context, no run starts.", none_start("clip")),
        Claim("Pooled, without the hinted groups that always succeed, every run starts.", all_start("pool-mixed")),
        Claim("A warm start that knows the form does not help a replaced group.", none_start("soft", "replace")),
    ),
    columns=("greedy", "pass@16", "hinted", "kept"),
    sheets=sheet,
)
