"""Where the final answer of a text is, and where there is none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.rewards.maths.extraction import final_answers, has_final_answer, last_boxes
from stepgym.rewards.maths.policy import Finding

BOXED = [
    (r"so \boxed{5}", ("5",)),
    (r"\boxed{\frac{1}{2}} and that is it", (r"\frac{1}{2}",)),
    (r"\boxed{a_{\{1\}}}", (r"a_{\{1\}}",)),
    (r"\boxed {5}", ("5",)),
    (r"\fbox{5}", ("5",)),
    (r"first \boxed{1}, but no: \boxed{2}", ("2",)),
    (r"\boxed{1}, \boxed{2} and \boxed{3}", ("1", "2", "3")),
    (r"$$\boxed{4}$$ $$\boxed{4}$$", ("4",)),
    (r"\boxed{1 \boxed{2} 3}", ("1 {2} 3",)),
    (r"\boxed{7} and then \boxed{8", ("7",)),
    (r"<think>\boxed{1}</think>\boxed{2}", ("2",)),
    (r"<think>\boxed{1}</think> the rest", ()),
    (r"<think>maybe \boxed{1}", ()),
    (r"a</think>b</think>\boxed{3}", ("3",)),
    (r"\boxed{}", ("",)),
    ("no box", ()),
    ("", ()),
]


@pytest.mark.parametrize(("text", "answers"), BOXED)
def test_boxes(text: str, answers: tuple[str, ...]) -> None:
    assert final_answers(text, Finding.BOXED) == answers
    assert has_final_answer(text) == bool(answers)


STATED = [
    ("The answer is 42.", "42"),
    ("The answer is 42 because geometry proves it", "42"),
    ("Final answer: 42", "42"),
    ("**Final Answer:** 42", "42"),
    ("The final answer is $10,455$. I hope it is correct.", "$10,455$"),
    ("Final Answer: The largest $n$ is 34.", "34"),
    ("Therefore the result is $3$", "$3$"),
    (r"We have \[ x = 5 \]", r"\[ x = 5 \]"),
    (r"$\frac{1}{3} \text{meters}$", r"$\frac{1}{3} \text{meters}$"),
    ("x = 3", "x = 3"),
    ("Answer: 42<|eot_id|>", "42"),
]


@pytest.mark.parametrize(("text", "answer"), STATED)
def test_statements_without_a_box(text: str, answer: str) -> None:
    assert final_answers(text, Finding.STATED) == (answer,)
    assert final_answers(text, Finding.BOXED) == ()
    assert not has_final_answer(text)


def test_a_statement_in_the_middle_of_the_work_is_not_final() -> None:
    text = "I think the answer is 5.\n\nWait, another approach:\n\nlet us count again, from the beginning"
    assert final_answers(text, Finding.STATED) != ("5",)


def test_the_last_number_counts_only_where_the_policy_says_so() -> None:
    text = "There are 12 ways, and so we need 1,234.5 boxes in all of them\n\nand nothing else here"
    assert final_answers("it takes 3 boxes and 1,234.5 bags in all", Finding.LAST_NUMBER) == ("1234.5",)
    assert final_answers(text, Finding.STATED) != ("1,234.5",)


@settings(max_examples=200)
@given(
    st.text(alphabet=st.sampled_from("ab\\{}$ <>/think\n1,.") | st.characters(), max_size=200), st.sampled_from(Finding)
)
def test_never_fails(text: str, finding: Finding) -> None:
    answers = final_answers(text, finding)
    assert all(isinstance(answer, str) for answer in answers)
    assert has_final_answer(text) or not final_answers(text, Finding.BOXED)


@given(
    st.text(
        alphabet=st.characters(blacklist_characters="{}\\<>", blacklist_categories=("Cs",)), min_size=1, max_size=40
    )
)
def test_what_is_boxed_comes_back(content: str) -> None:
    assert last_boxes(f"some text \\boxed{{{content}}} and more") == (content.strip(),)


@pytest.mark.parametrize(
    "piece", [r"\boxed{", "{", "}", r"\boxed{1} ", "<think>", "</think>", "answer is ", "$", "is ", r"\("]
)
def test_is_linear_in_the_text(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    started = time.process_time()
    for finding in Finding:
        final_answers(text, finding)
    has_final_answer(text)
    assert time.process_time() - started < 6
