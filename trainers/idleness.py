"""Why steps taught nothing, and what could not be graded: said from what they measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepgym.trainers.metrics import StepRecord


def why_idle(records: Sequence[StepRecord]) -> str:
    """What all idle steps of a run have in common, as the end of a sentence; empty if no step was idle."""
    idle = [record for record in records if record.step > 0 and record.update is None]
    if not idle:
        return ""
    measures = [record.measures for record in idle]
    groups = sum(int(measure.get("groups", 0)) for measure in measures)
    ungraded = sum(map(_ungraded, idle))
    rewards = [measure["reward"] for measure in measures if math.isfinite(measure.get("reward", math.nan))]
    if not groups:
        return "the recipe gathered no samples"
    if not rewards:
        return f"none of {ungraded:,} attempts could be graded"
    least, most = f"{min(rewards):.3g}", f"{max(rewards):.3g}"
    spread = least if least == most else f"{least} to {most}"
    broken = f", and {ungraded:,} attempts could not be graded" if ungraded else ""
    return f"in all of {groups:,} groups the rewards were equal, or nearly so (mean reward {spread}){broken}"


def say_ungraded(records: Sequence[StepRecord]) -> str:
    """How many attempts of a run could not be graded, and why the first; empty if all could."""
    count = sum(map(_ungraded, records))
    why = next((record.ungraded_why for record in records if record.ungraded_why), "")
    return f"{count:,} attempts could not be graded" + (f"; the first: {why}" if why else "") if count else ""


def _ungraded(record: StepRecord) -> int:
    """With help and without."""
    return sum(int(record.measures.get(name, 0)) for name in ("ungraded", "guided_ungraded"))
