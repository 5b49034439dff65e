"""Do software-engineering tasks judge as they should? The gold patch is worth 1, no change is worth 0, each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from stepgym.errors import StepgymError
from stepgym.evals.swe_judging import check_gradable
from stepgym.evals.validation import Flaw, Kind
from stepgym.records import Status, Task
from stepgym.rewards.swe.hidden_tests import HiddenTests, Judgement

GOLD, NOTHING = "the gold patch", "no change"
MOST_NAMED = 5
UNTOUCHED = """\
diff --git a/.nothing b/.nothing
new file mode 100644
--- /dev/null
+++ b/.nothing
@@ -0,0 +1 @@
+nothing
"""
"""A patch that changes nothing of what is tested, so that the tests of the base run."""


def validate_swe(tasks: Sequence[Task], tests: HiddenTests, *, repeats: int, workers: int) -> Iterator[list[Flaw]]:
    """The flaws of each task, in order, found by running its hidden tests `repeats` times with and without gold."""
    with ThreadPoolExecutor(workers) as threads:
        yield from threads.map(lambda task: _flaws(task, tests, repeats), tasks)


def _flaws(task: Task, tests: HiddenTests, repeats: int) -> list[Flaw]:
    try:
        check_gradable(task)
    except (StepgymError, LookupError) as error:
        return [Flaw(task.id, Kind.UNREADABLE, "", str(error))]
    found = []
    for patch, what in ((task.answer, GOLD), (UNTOUCHED, NOTHING)):
        try:
            judged = [tests.judge(task, patch, official=False) for _ in range(repeats)]
        except StepgymError as error:
            found.append(Flaw(task.id, Kind.UNGRADED, what, str(error)))
            continue
        flaw = _flaw(judged, gold=what == GOLD)
        if flaw is not None:
            found.append(Flaw(task.id, flaw[0], what, flaw[1]))
    return found


def _flaw(judged: Sequence[Judgement], *, gold: bool) -> tuple[Kind, str] | None:
    """What is wrong with the judgements of the same patch, and why."""
    for each in judged:
        if each.status is not Status.GRADED:
            return Kind.UNGRADED, each.why
    if flaky := _varying(judged):
        named = ", ".join(flaky[:MOST_NAMED])
        more = f" and {len(flaky) - MOST_NAMED} more" if len(flaky) > MOST_NAMED else ""
        return Kind.FLAKY, f"not alike in {len(judged)} runs: {named}{more}"
    for each in judged:
        if gold and not (each.verdict.resolved and each.verdict.strict is not False):
            return Kind.GOLD_REJECTED, each.why
        if not gold and each.verdict.resolved:
            return Kind.WRONG_ACCEPTED, each.why
    return None


def _varying(judged: Sequence[Judgement]) -> list[str]:
    """The tests that did not end alike each time."""
    ends: dict[str, set[str]] = {}
    for each in judged:
        for test in each.verdict.tests:
            ends.setdefault(test.name, set()).add(test.status)
    varying = sorted(name for name, statuses in ends.items() if len(statuses) > 1)
    return varying or ["whether the tests come to their end"] * (len({each.verdict.read for each in judged}) > 1)
