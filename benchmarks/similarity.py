"""SequenceSimilarity beside difflib and cydifflib, on real solution steps; and how long the worst action takes.

Every matcher keeps what it knows of the expert over a group of rollouts, as a reward does.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cydifflib

from stepgym import tasks
from stepgym.errors import StepgymError
from stepgym.rewards import SequenceSimilarity

GROUP = 8
"""Rollouts of one expert step."""
SOURCES = {"s1k numbered steps": "s1k", "gsm8k steps": "gsm8k"}
EXPERTS = {200: 24, 1000: 8, 4000: 2}
"""Characters of an expert, and how many of them are measured."""
SEARCH_SECONDS = 10.0


def real_steps() -> dict[str, list[str]]:
    """Expert steps by source; steps of generated tasks where no benchmark data is at hand."""
    steps: dict[str, list[str]] = {}
    for title, name in SOURCES.items():
        try:
            steps[title] = [step for task in tasks.load(name) for step in task.steps]
        except StepgymError as error:
            print(f"without {title}: {error}")
    return steps or {"generated steps": [step for task in tasks.load("arithmetic?count=4000") for step in task.steps]}


def groups(rng: random.Random, text: str, characters: int, count: int) -> Iterator[tuple[list[str], str]]:
    """Experts cut from `text`, each with a group of actions: 60 % of its words replaced, or other text."""
    for _ in range(count):
        expert = cut(rng, text, characters)
        words, others = expert.split(" "), cut(rng, text, 2 * characters).split(" ")
        near = [" ".join(rng.choice(others) if rng.random() < 0.6 else word for word in words) for _ in range(GROUP)]
        yield [cut(rng, text, characters) if n % 3 == 2 else near[n] for n in range(GROUP)], expert


def cut(rng: random.Random, text: str, characters: int) -> str:
    """A random piece of `text`."""
    start = rng.randrange(len(text) - characters)
    return text[start : start + characters]


def by_difflib(actions: Sequence[str], expert: str, autojunk: bool) -> list[float]:
    """The standard library, one matcher for the group."""
    matcher = difflib.SequenceMatcher(None, "", expert, autojunk=autojunk)
    return [matcher.set_seq1(action) or matcher.ratio() for action in actions]


def by_cydifflib(actions: Sequence[str], expert: str, autojunk: bool) -> list[float]:
    """Its compiled twin, one matcher for the group."""
    matcher = cydifflib.SequenceMatcher(None, "", expert, autojunk=autojunk)
    return [matcher.set_seq1(action) or matcher.ratio() for action in actions]


def by_stepgym(actions: Sequence[str], expert: str, autojunk: bool) -> list[float]:
    """Ours; each expert comes for the first time."""
    similarity = SequenceSimilarity(autojunk=autojunk)
    return [similarity.ratio(action, expert) for action in actions]


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """CPU time of one call, the best of `repeats`."""
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return min(taken)


def speed(steps: dict[str, list[str]]) -> None:
    """The first table."""
    print(f"{'':<20}{'characters':>11}{'autojunk':>10}{'difflib':>12}{'cydifflib':>11}{'stepgym':>9}{'identical':>11}")
    rng = random.Random(0)
    for title, texts in steps.items():
        rng.shuffle(texts)
        text = "\n".join(texts)
        for characters, count in EXPERTS.items():
            for autojunk in (True, False):
                totals, ratios = measured(list(groups(rng, text, characters, count)), autojunk)
                slow, compiled, ours = totals
                per_call = 1000 * slow / count / GROUP
                print(
                    f"{title:<20}{characters:>11}{autojunk!s:>10}{per_call:>9.2f} ms{slow / compiled:>10.1f}×"
                    f"{slow / ours:>8.0f}×{str(ratios[0] == ratios[1] == ratios[2]).lower():>11}"
                )


def measured(cases: list[tuple[list[str], str]], autojunk: bool) -> tuple[list[float], list[list[float]]]:
    """CPU seconds and ratios of the three matchers over the same groups."""
    totals, ratios = [], []
    for matcher in (by_difflib, by_cydifflib, by_stepgym):
        started = time.process_time()
        ratios.append([ratio for actions, expert in cases for ratio in matcher(actions, expert, autojunk)])
        totals.append(time.process_time() - started)
    return totals, ratios


def attacks(rng: random.Random, expert: str) -> dict[str, str]:
    """Actions as long as the cap allows, meant to stall a matcher."""
    cap = SequenceSimilarity().cap(expert)
    common = max(set(expert), key=expert.count)
    return {
        "one character": common * cap,
        "two characters": ((common + expert[0]) * cap)[:cap],
        "expert repeated": (expert * cap)[:cap],
        "expert reversed": (expert[::-1] * cap)[:cap],
        "expert shuffled": "".join(rng.choices(expert, k=cap)),
        "all windows": "".join(expert[i : i + 60] for i in range(0, len(expert), 15))[:cap],
    }


def held_up(action: str, expert: str) -> float:
    """CPU seconds of the slower autojunk setting."""
    matchers = [SequenceSimilarity(autojunk=autojunk) for autojunk in (False, True)]
    return max(seconds(partial(matcher.ratio, action, expert), repeats=2) for matcher in matchers)


def searched(rng: random.Random, expert: str, start: str) -> float:
    """The slowest action that a random search finds: it pastes pieces of the expert, repeated, and keeps gains."""
    action, worst, end = start, held_up(start, expert), time.process_time() + SEARCH_SECONDS
    while time.process_time() < end:
        at, low = rng.randrange(len(action)), rng.randrange(len(expert))
        piece = expert[low : low + rng.choice((1, 2, 4, 16, 64, 256))] * rng.choice((1, 1, 4, 64))
        changed = (action[:at] + piece + action[at + len(piece) :])[: len(start)]
        if (taken := held_up(changed, expert)) > worst:
            action, worst = changed, taken
    return min(held_up(action, expert) for _ in range(3))


def stalling(steps: dict[str, list[str]]) -> None:
    """The second table: the worst action within the cap."""
    rng = random.Random(0)
    texts = sorted((step for source in steps.values() for step in source), key=len)
    experts = [*texts[-20:], *[step for step in texts if len(step) < 200][-20:]] if len(texts) > 40 else texts
    pool = "\n".join(texts)
    ordinary = max(held_up(cut(rng, pool, SequenceSimilarity().cap(e)), e) for e in experts[:20])
    print(f"\nworst of {len(experts)} experts up to {max(map(len, experts))} characters, actions as long as the cap")
    print(f"{'ordinary text':<24}{1000 * ordinary:>8.1f} ms")
    worst: dict[str, float] = {}
    for expert in experts:
        for name, action in attacks(rng, expert).items():
            worst[name] = max(worst.get(name, 0.0), held_up(action, expert))
    longest = max(experts, key=len)
    worst["found by search"] = searched(rng, longest, attacks(rng, longest)["expert shuffled"])
    for name, taken in worst.items():
        print(f"{name:<24}{1000 * taken:>8.1f} ms{taken / ordinary:>8.2f} × ordinary")
    print(f"worst: {1000 * max(worst.values()):.0f} ms (bar: 250 ms)")


def main() -> None:
    """Print both tables."""
    steps = real_steps()
    speed(steps)
    stalling(steps)


if __name__ == "__main__":
    main()
