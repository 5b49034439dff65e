"""SequenceSimilarity is difflib's number for every input, and no action can hold it up."""

from __future__ import annotations

import difflib
import math
import pickle
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym import tasks
from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.records import Attempt, Task
from stepgym.rewards import SequenceSimilarity, _matching
from stepgym.rewards.similarity import Unit

SPLIT = {"characters": list, "words": str.split, "lines": str.splitlines}
CHARACTERS = {junk: SequenceSimilarity(autojunk=junk) for junk in (False, True)}
ODD = "a\0\ud800\udfff\U0001f600e\u0301\n\r\x85é"


def expected(a: Sequence[str], b: Sequence[str], autojunk: bool) -> float:
    return difflib.SequenceMatcher(None, a, b, autojunk=autojunk).ratio()


def check(a: str, b: str, autojunk: bool) -> None:
    assert CHARACTERS[autojunk].ratio(a, b) == expected(a, b, autojunk), (a, b, autojunk)


def with_shared_blocks(rng: random.Random, alphabet: str, sizes: Sequence[int]) -> tuple[str, str]:
    """Two texts over an alphabet of uneven frequencies; every other pair shares pieces, some of them repeated."""
    weights = [rng.random() ** 3 + 0.001 for _ in alphabet]
    a, b = ("".join(rng.choices(alphabet, weights, k=rng.choice(sizes))) for _ in range(2))
    if rng.random() < 0.5:
        low, high = sorted((rng.randint(0, len(b)), rng.randint(0, len(b))))
        a = b[low:high] * rng.randint(1, 3) + a + b[high:] + b[:low]
    return a, b


@pytest.mark.parametrize("seed", range(4))
def test_short_texts_give_difflibs_number(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(2500):
        alphabet = "".join(rng.sample("abcdefghijklmnop", rng.randint(1, 16)))
        a, b = with_shared_blocks(rng, alphabet, (0, 1, 2, 5, 12, 30))
        check(a, b, rng.random() < 0.5)


@pytest.mark.parametrize("autojunk", [False, True])
def test_texts_around_the_widths_where_the_method_changes_give_difflibs_number(autojunk: bool) -> None:
    """64: from masks to the automaton. 200: where autojunk sets in."""
    rng = random.Random(5)
    for case in range(300):
        alphabet = rng.choice(["abcdefgh", "abcdefghijklmnopqrstuvwxyz ", ODD])
        a, b = with_shared_blocks(rng, alphabet, (63, 64, 65, 130) if case % 3 else (198, 199, 200, 201, 320))
        check(a, b, autojunk)


@pytest.mark.parametrize("seed", range(3))
def test_edited_texts_of_common_and_rare_symbols_give_difflibs_number(seed: int) -> None:
    """What autojunk is for: rare symbols make the blocks, and common ones lengthen them on both sides."""
    rng = random.Random(seed)
    for _ in range(150):
        alphabet = [chr(0x100 + n) for n in range(rng.choice((20, 60, 200)))]
        b = rng.choices(alphabet, [1 / (n + 1) for n in range(len(alphabet))], k=rng.randint(190, 330))
        a = [rng.choice(alphabet[:3]) if rng.random() < 0.15 else symbol for symbol in b if rng.random() < 0.9]
        low, high = sorted((rng.randint(0, len(a)), rng.randint(0, len(a))))
        check("".join(a[high:] + a[low:high] + a[:low]), "".join(b), True)
        check("".join(a), "".join(b), rng.random() < 0.8)


@settings(max_examples=300, deadline=None)
@given(a=st.text(max_size=60), b=st.text(max_size=60), autojunk=st.booleans())
def test_any_text_gives_difflibs_number(a: str, b: str, autojunk: bool) -> None:
    check(a, b, autojunk)


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.text(alphabet="ab\U0001f600\ud800", min_size=1, max_size=40), min_size=1, max_size=5),
    a=st.lists(st.integers(0, 4), max_size=8),
    b=st.lists(st.integers(0, 4), max_size=12),
    autojunk=st.booleans(),
)
def test_texts_made_of_the_same_pieces_give_difflibs_number(
    pieces: list[str], a: list[int], b: list[int], autojunk: bool
) -> None:
    check(*("".join(pieces[n % len(pieces)] for n in order) for order in (a, b)), autojunk)


@pytest.mark.parametrize("unit", ["words", "lines"])
def test_words_and_lines_give_difflibs_number_over_the_same_tokens(unit: Unit) -> None:
    rng = random.Random(7)
    space = " " if unit == "words" else "\n"
    for case in range(600):
        vocabulary = ["x", "the", "é", "\0", "a b" if unit == "lines" else "ab", "=", "12"][: rng.randint(1, 7)]
        sizes = (0, 1, 5, 30, 70) if case % 10 else (199, 200, 230)
        a, b = (space.join(rng.choices([*vocabulary, extra], k=rng.choice(sizes))) for extra in ("only-a", "only-b"))
        autojunk = case % 2 == 0
        split = SPLIT[unit]
        assert SequenceSimilarity(unit=unit, autojunk=autojunk).ratio(a, b) == expected(split(a), split(b), autojunk)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("", ""),
        ("", "x"),
        ("x", ""),
        ("ab", "acab"),
        ("\ud800", "\udc00"),
        ("\0", "\0\0"),
        ("\U0001f600", "\ud83d\ude00"),
    ],
)
def test_corners_give_difflibs_number(a: str, b: str) -> None:
    check(a, b, False)


def test_blocks_grow_to_the_right_over_popular_characters() -> None:
    """One of the rare pairs whose ratio depends on it: after a block, P and Q are popular and the others are not."""
    b = "edePiPgQeQPgQiddPgiQhP" + "".join(chr(0x4000 + n) for n in range(150)) + "PQ" * 25
    check("edePiPgQeePgQiddPgQQhPgiPfPhQPgPPcgj", b, True)


def test_popular_characters_match_only_beside_others_or_where_a_box_begins() -> None:
    b = "aab" * 80
    check("aab", b, True)
    check("xa", b, True)
    check("a" * 10, b, True)
    assert CHARACTERS[True].ratio("aab", b) > 0
    assert CHARACTERS[True].ratio("xa", b) == 0 < CHARACTERS[False].ratio("xa", b)


def test_real_steps_give_difflibs_number(data_dir: Path) -> None:
    rng = random.Random(3)
    steps = [step for task in tasks.load(data_dir / "math" / "s1k_question_solution.jsonl") for step in task.steps]
    for expert in rng.sample([step for step in steps if len(step) < 800], 20):
        action = " ".join(word for word in expert.split(" ") if rng.random() < 0.6)
        for a in (action, rng.choice(steps)[:600]):
            check(a, expert, True)
            check(a, expert, False)


def hostile(rng: random.Random, expert: str, cap: int) -> list[str]:
    common = max(set(expert), key=expert.count)
    return [
        common * cap,
        ((common + expert[0]) * cap)[:cap],
        ("ab" * cap)[:cap],
        (expert * cap)[:cap],
        (expert[::-1] * cap)[:cap],
        "".join(rng.choices(expert, k=cap)),
    ]


def nested() -> str:
    """Blocks of every length from 88 down, so that the search has to start over 88 times."""
    rng = random.Random(1)
    return "".join("".join(rng.choices("abcd", k=size)) + chr(0x5000 + size) for size in range(88, 0, -1))


@pytest.mark.parametrize("autojunk", [False, True])
@pytest.mark.parametrize(
    "expert",
    ["a" * 4135, "ab" * 2067, "ab" * 99, nested(), nested()[::-1], "".join(random.Random(2).choices("ab", k=4135))],
    ids=["one character", "two characters", "short", "nested", "nested backwards", "random"],
)
def test_no_action_within_the_cap_takes_long(expert: str, autojunk: bool) -> None:
    similarity = SequenceSimilarity(autojunk=autojunk)
    for action in hostile(random.Random(0), expert, similarity.cap(expert)):
        started = time.process_time()
        similarity.ratio(action, expert)
        assert time.process_time() - started < 0.25


def test_threads_share_an_expert_and_give_the_same_numbers() -> None:
    rng = random.Random(4)
    expert = "".join(rng.choices("abcdef ", k=3000))
    actions = ["".join(rng.choices("abcdef ", k=3000)) for _ in range(32)]
    alone = [CHARACTERS[False].ratio(action, expert) for action in actions]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(CHARACTERS[False].ratio, actions, [expert] * len(actions))) == alone


def test_other_threads_run_while_texts_are_matched() -> None:
    text = ("".join(random.Random(6).choices("ab", k=400_000))).encode("utf-32-le")
    index = _matching.index(text, False)
    reversed_text = text.decode("utf-32-le")[::-1].encode("utf-32-le")
    matching = threading.Thread(target=_matching.count, args=(index, reversed_text))
    matching.start()
    turns = 0
    while matching.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 5  # with the GIL held it would be one


def test_the_matcher_refuses_what_is_no_sequence_of_symbols() -> None:
    index = _matching.index(b"", False)
    for bad in (lambda: _matching.index(b"abc", False), lambda: _matching.count(index, b"abc")):
        with pytest.raises(ValueError, match="32-bit symbols, got 3 bytes"):
            bad()
    with pytest.raises(ValueError, match="at most 16777216"):
        _matching.count(index, bytes(4 * (2**24 + 1)))


def attempt(text: str, *steps: str, index: int = 0) -> Attempt:
    return Attempt(task=Task(id="t", prompt="p", steps=steps), text=text, index=index)


def test_an_action_is_compared_with_the_experts_step_at_its_position() -> None:
    similarity = SequenceSimilarity()
    assert similarity(attempt("2. Add", "1. Take", "2. Add", index=1)).value == 1.0
    assert 0 < similarity(attempt("2. Add", "1. Take", "2. Add", index=0)).value < 1


@pytest.mark.parametrize(("text", "why"), [("", "empty"), (" \n", "empty"), ("x" * 533, "533 characters, at most 532")])
def test_a_malformed_action_earns_the_malformed_value(text: str, why: str) -> None:
    score = SequenceSimilarity()(attempt(text, "1. Go"))
    assert (score.value, score.graded) == (-1.0, True)
    assert why in score.why
    assert SequenceSimilarity(malformed=-0.5)(attempt(text, "1. Go")).value == -0.5


def test_an_action_at_the_cap_is_judged_and_the_cap_can_be_set() -> None:
    assert SequenceSimilarity()(attempt("x" * 532, "1. Go")).value == 0.0
    tight = SequenceSimilarity(length_factor=1, length_slack=0)
    assert tight(attempt("1. Go", "1. Go")).value == 1.0
    assert tight(attempt("1. Go!", "1. Go")).value == -1.0


def test_a_step_the_expert_lacks_is_an_error_and_no_score() -> None:
    with pytest.raises(TaskError, match="'t' has no expert steps"):
        SequenceSimilarity()(attempt("x"))
    for index in (1, -1):
        with pytest.raises(RewardError, match="has 1 expert steps, so none at index"):
            SequenceSimilarity()(attempt("x", "1. Go", index=index))


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'words'"):
        SequenceSimilarity(unit="word")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="negative"):
        SequenceSimilarity(length_slack=-1)


def test_it_pickles_and_equal_settings_are_equal() -> None:
    similarity = SequenceSimilarity(autojunk=True, unit="lines")
    assert pickle.loads(pickle.dumps(similarity)) == similarity
    assert not math.isnan(similarity.ratio("", ""))
