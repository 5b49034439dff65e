"""How like the gold patch a patch is: the reward of SWE-RL."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.errors import TaskError
from stepgym.records import Attempt, Score, Task
from stepgym.rewards.similarity import SequenceSimilarity
from stepgym.tasks.swe_patch import Diff
from stepgym.tasks.swe_patch_reading import parse_diff

LONGEST = 1 << 20
"""Characters of a patch that is compared."""
_COMPARE = SequenceSimilarity()


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSimilarity:
    """The mean of difflib's ratio over all files that the patch or the gold patch changes (SWE-RL, arXiv 2502.18449).

    For each file the hunks are compared, ``SequenceMatcher(None, hunks, gold's, autojunk=False).ratio()``; a file that
    only one of the two changes counts 0. Nothing runs, so it says how a patch is written and not what it does.
    """

    malformed: float = -1.0
    """Value of what is no diff; SWE-RL's. An empty patch is no diff."""

    def __call__(self, attempt: Attempt, /) -> Score:
        """The similarity of ``attempt.text`` to ``attempt.task.answer``. Raises `TaskError` for no gold patch."""
        gold = _changes(self._gold(attempt.task))
        if len(attempt.text) > LONGEST + 4 * len(attempt.task.answer):
            return Score(self.malformed, why=f"malformed: a patch of {len(attempt.text):,} characters")
        diff = parse_diff(attempt.text)
        if diff.flaws or not diff.files:
            return Score(self.malformed, why=f"malformed: {next(iter(diff.flaws), 'the patch is empty')}")
        given = _changes(diff)
        paths = given.keys() | gold.keys()
        ratios = [_COMPARE.ratio(given[path], gold[path]) if path in given and path in gold else 0.0 for path in paths]
        shared = len(given.keys() & gold.keys())
        return Score(sum(ratios) / len(paths), why=f"similarity of patches; {shared} of {len(paths)} files in both")

    def check_task(self, task: Task, /) -> None:
        """Raises `TaskError` for a task whose answer is not a patch."""
        self._gold(task)

    def _gold(self, task: Task) -> Diff:
        gold = parse_diff(task.answer)
        if gold.flaws or not gold.files:
            raise TaskError(f"task {task.id!r} has no gold patch to compare with")
        return gold


def _changes(diff: Diff) -> dict[str, str]:
    """The hunks of each file; of one without hunks its header."""
    found: dict[str, str] = {}
    for file in diff.files:
        _, mark, hunks = file.text.partition("\n@@ ")
        found[file.path] = found.get(file.path, "") + (mark + hunks if mark else file.body)
    return found
