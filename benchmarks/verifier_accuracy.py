"""Accuracy of `MathVerifier` beside Math-Verify, in one run, on labelled pairs and on the golds of three benchmarks.

    python benchmarks/verifier_accuracy.py [--no-math-verify]

Data is read from the folder in STEPGYM_DATA (or ../shared/data beside the checkout). Math-Verify gets texts as they
are, bare answers and their golds in a box; it runs in the killable worker pool with 10 CPU seconds for each pair.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stepgym.errors import SandboxError
from stepgym.records import Attempt, Task
from stepgym.rewards import MathVerifier
from stepgym.sandboxes import OverBudgetError, shared_pool
from stepgym.tasks import load

DATA = Path(os.environ.get("STEPGYM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
Judge = Callable[[str, str, str], bool | None]
"""(gold, answer, form) -> accepted; None if time ran out. `form` is ``bare`` or ``text``."""


@dataclass
class Tally:
    """What a grader did on labelled pairs."""

    right: int = 0
    false_accepts: int = 0
    false_rejects: int = 0
    undecided: int = 0
    milliseconds: list[float] = field(default_factory=list)
    by_source: dict[str, list[int]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, expected: bool, given: bool | None, source: str, shown: str) -> None:
        """Count one pair."""
        right = given is not None and given == expected
        self.right += right
        self.undecided += given is None
        self.false_accepts += bool(given) and not expected
        self.false_rejects += expected and not given
        counts = self.by_source.setdefault(source, [0, 0])
        counts[0] += right
        counts[1] += 1
        if not right:
            self.errors.append(f"{'accepts' if given else 'rejects'} {shown}")


def ours(gold: str, answer: str, form: str) -> bool | None:
    """MathVerifier."""
    verifier = MathVerifier()
    if form == "bare":
        score = verifier.equal(gold, answer)
    else:
        score = verifier(Attempt(task=Task(id="", prompt="", answer=gold), text=answer))
    return score.value == 1 if score.graded else None


def math_verify(gold: str, answer: str, form: str) -> bool | None:
    """Math-Verify in a worker."""
    try:
        return bool(
            shared_pool().run("math_verify_worker:judge", (gold, answer, form), cpu_seconds=10, memory_bytes=1 << 30)
        )
    except (OverBudgetError, SandboxError):
        return None


def labelled_pairs(judges: dict[str, Judge]) -> None:
    """The table of labelled pairs."""
    with (DATA / "math_pairs" / "pairs.jsonl").open(encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    tallies = {name: Tally() for name in judges}
    for name, judge in judges.items():
        for pair in pairs:
            started = time.perf_counter()
            given = judge(pair["gold"], pair["pred"], pair["form"])
            tallies[name].milliseconds.append(1000 * (time.perf_counter() - started))
            shown = f"gold {pair['gold'][-60:]!r}, answer {pair['pred'][-60:]!r} ({pair['source']})"
            tallies[name].add(pair["expected"], given, pair["source"].split(":")[0], shown)
    negatives = sum(not pair["expected"] for pair in pairs)
    print(f"{len(pairs)} labelled pairs, {negatives} of them negative")
    print(
        f"{'':16}{'right':>14}{'false accepts':>15}{'false rejects':>15}{'undecided':>11}{'median ms':>11}{'p99 ms':>9}"
    )
    for name, tally in tallies.items():
        times = sorted(tally.milliseconds)
        print(
            f"{name:16}{tally.right:>6} {tally.right / len(pairs):7.1%}{tally.false_accepts:>15}"
            f"{tally.false_rejects:>15}{tally.undecided:>11}"
            f"{times[len(times) // 2]:>11.2f}{times[int(len(times) * 0.99)]:>9.1f}"
        )
    print("\nright, by source")
    for source in sorted(next(iter(tallies.values())).by_source):
        counts = (tally.by_source[source] for tally in tallies.values())
        print(f"  {source:44}" + "".join(f"{right:>6}/{total:<5}" for right, total in counts))
    print("\nfalse accepts of MathVerifier")
    print("\n".join(f"  {error}" for error in tallies["MathVerifier"].errors if error.startswith("accepts")))


def changed(gold: str) -> str | None:
    """`gold` with one digit changed, always the same; None if it has no digit."""
    places = [match.start() for match in re.finditer("[0-9]", gold)]
    if not places:
        return None
    choice = random.Random(gold)
    place = choice.choice(places)
    digit = choice.choice([digit for digit in "0123456789" if digit != gold[place]])
    return gold[:place] + digit + gold[place + 1 :]


def identity_and_change(judges: dict[str, Judge]) -> None:
    """Every gold against itself, and against itself with one digit changed."""
    print("\nevery gold against itself (accepted / golds), and with one digit changed (accepted / golds)")
    for name, judge in judges.items():
        print(f"{name:16}", end="")
        for benchmark in ("math500", "olympiadbench", "minerva_math"):
            answers = [task.answer for task in load(benchmark)]
            same = sum(judge(gold, gold, "bare") is True for gold in answers)
            others = [(gold, other) for gold in answers if (other := changed(gold)) is not None]
            accepted = sum(judge(gold, other, "bare") is True for gold, other in others)
            print(f"  {benchmark} {same}/{len(answers)}, {accepted}/{len(others)}", end="", flush=True)
        print()


def main() -> None:
    """Print both tables."""
    if not (DATA / "math_pairs").is_dir():
        sys.exit(f"no data: {DATA} has no folder math_pairs (set STEPGYM_DATA)")
    os.environ["STEPGYM_DATA"] = str(DATA)
    judges: dict[str, Judge] = {"MathVerifier": ours}
    if "--no-math-verify" not in sys.argv:
        judges["Math-Verify"] = math_verify
    labelled_pairs(judges)
    identity_and_change(judges)


if __name__ == "__main__":
    main()
