"""What counts as the same answer: pairs that must be accepted, pairs that must not, one table for each rule."""

from __future__ import annotations

import math

import pytest

from stepgym.errors import TaskError
from stepgym.records import Attempt, Status, Task
from stepgym.rewards import MathVerifier, TaskChecker
from stepgym.rewards.maths.policy import QWEN, Finding, Percent, Policy

SAME = [
    # numbers
    ("1/2", "0.5"),
    (r"\frac{1}{2}", "1/2"),
    (r"\frac12", ".5"),
    ("007", "7"),
    ("27.0", "27"),
    ("12345678", "12,345,678"),
    ("1234", r"1\,234"),
    ("1500", r"1.5 \times 10^3"),
    ("2e-3", "0.002"),
    (r"918\frac{1}{2}", "918.5"),
    ("3/2", "1 1/2"),
    ("-8192", "−8,192"),
    ("1/6", r"0.1\overline{6}"),
    (r"\$36", "36"),
    ("36", "$36"),
    ("16", "016"),
    ("5", "**5**"),
    ("1000", "10^3"),
    ("120", "5!"),
    ("10", r"\binom{5}{2}"),
    ("2", r"17 \bmod 5"),
    ("123", "１２３"),
    ("-1/3", "-1./3"),
    # exact forms
    (r"\frac{\sqrt3}{2}", r"\sqrt{3}/2"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"\sqrt{12}", r"2\sqrt{3}"),
    (r"\frac{1}{\sqrt2+1}", r"\sqrt2-1"),
    ("2^{n+1}", r"2 \cdot 2^n"),
    ("4^n", "2^{2n}"),
    ("1+2i", "i(2-i)"),
    (r"\sqrt{-9}", "3i"),
    ("ab(x-y)", "bax - aby"),
    (r"\frac{d !}{2 k(d-k) !}", r"\dfrac{\dbinom{d}{k} (k - 1)!}{2}"),
    ("e^{2x}", "(e^x)^2"),
    (r"3\sqrt[3]{2}", r"\sqrt[3]{54}"),
    # numeric probing
    (r"\sin 2x", r"2\sin x\cos x"),
    (r"96-10\sqrt{21}", r"\frac{6\sqrt{1789-240\sqrt{21}}+8\sqrt{1236-240\sqrt{21}}}{5}"),
    (r"\ln 8", r"3\ln 2"),
    ("-1", r"e^{i\pi}"),
    (r"\tan^{-1}(x)", r"\arctan x"),
    (r"\lceil n/2\rceil", r"\lfloor \frac{n+1}{2} \rfloor"),
    (r"\log_2 8", "3"),
    (r"|x|", r"\sqrt{x^2}"),
    (r"\cos(60^\circ)", "1/2"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    # symbolic tier
    (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{6}"),
    # lists, sets, tuples
    ("4, 8", "8,4"),
    (r"\{1,2,3\}", "3, 2, 1"),
    ("x = 2, x = -3", "-3, 2"),
    ("(1,2),(3,4)", r"(3,4) \text{ and } (1,2)"),
    (r"\left(3,\frac{\pi}{2}\right)", r"(3, \pi/2)"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    ("(3,2)", "(p,q)=(3,2)"),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1+\sqrt{5}, 1-\sqrt{5}\}"),
    ("2,-1,-18", "a=2, h=-1, k=-18"),
    ("1,3", r"1 \text{ and } 3"),
    (r"(\pm 1, 0)", "(1,0), (-1,0)"),
    (r"\emptyset", r"\{\}"),
    (r"\emptyset", "no solution"),
    (r"\mathbb{R} \setminus \{2\}", r"(-\infty,2) \cup (2,\infty)"),
    (r"(-\infty,\infty)", "all real numbers"),
    (r"\frac{\pi}{4}+k\pi", r"\frac{\pi}{4} + k\pi, k \in \mathbb{Z}"),
    ("x>3", r"\{x \in \mathbb{R} : x > 3\}"),
    ("5", r"\text{Area} = 5 \text{ cm}^2"),
    ("1,3", "Minimum: 1, Maximum: 3"),
    ("7:32", "14:64"),
    ("1:2:3", "2:4:6"),
    # intervals and inequalities
    (r"[-2,7]", r"x \in [-2, 7]"),
    ("(-4, 0]", r"-4<m\leq0"),
    (r"(-\infty,-5)", "k < -5"),
    (r"x \le 1", r"-x \ge -1"),
    (r"x\ge5", r"5\le x"),
    (r"(-\infty,1)\cup(3,\infty)", r"x<1 \text{ or } x>3"),
    (r"\{x|-2<x<3\}", "(-2,3)"),
    (r"|z|\le 2", "[-2,2]"),
    (r"x \ne 3", "x != 3"),
    (r"[1,2]\cup\{5\}", r"\{5\} \cup [1,2]"),
    # equations
    ("11", "x=11"),
    ("x=11", "11"),
    ("x + 1", "f(x) = x + 1"),
    ("f(x)=x+1", "f(t) = t + 1"),
    ("y = 2x+3", "f(x) = 2x+3"),
    ("x-y=2", "2x = 2y+4"),
    ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}"),
    ("y=x^2", "x^2=y"),
    (r"74^\circ", r"\angle APC = 74^\circ"),
    ("10", r"\binom{5}{2} = 10"),
    # matrices
    (r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}", r"\begin{bmatrix} 1 & \frac{4}{2} \\ 3 & 4 \end{bmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix}4\\6\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix} + \begin{pmatrix}3\\4\end{pmatrix}"),
    (r"\begin{pmatrix}5\\11\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix} \begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix}-2\\4\end{pmatrix}", r"-2\begin{pmatrix}1\\-2\end{pmatrix}"),
    ("-2", r"\begin{vmatrix}1 & 2\\3 & 4\end{vmatrix}"),
    # units, percent, degrees
    ("10", r"10\text{ cm}"),
    (r"10\text{ cm}^2", r"10 \mathrm{~cm}^{2}"),
    ("35 cm", "35 centimeters"),
    ("28\\%", "28 percent"),
    ("10\\%", "0.1"),
    ("10\\%", "10"),
    (r"74^\circ", "74"),
    (r"\frac{2\pi}{3}", r"120^\circ"),
    ("12", r"12^{\mathrm{th}}"),
    ("32.8\\%", r"\frac{41}{125}"),
    # bases and words
    ("40_9", "40_{9}"),
    ("10_2", "2_3"),
    ("101_2", "101"),
    (r"\text{even}", "Even"),
    ("C", r"\text{(C)}"),
    ("(B)", "B"),
    ("E", r"\textbf{(E)} 17"),
    ("yes", r"\text{yes}"),
    # a gold that is a decimal
    ("1.732", r"\sqrt3"),
    ("3.14", "3.14159"),
    ("7.78", r"\frac{70}{9}"),
    ("6.01", r"6 \frac{1}{64}"),
    ("4.5e33", "4.501e33"),
]

DIFFERENT = [
    ("2", "3"),
    ("1/2", "0.49"),
    ("58500", "58503"),
    ("12345678901", "12345678902"),
    ("75", "0.75"),
    ("1,-2", "1,-3"),
    ("0.1", "0.11"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    ("3.89e-10", "3.59e-10"),
    ("7.4e-12", "7.4e-19"),
    ("5", "5.1"),
    ("17.001", "17"),
    ("17.001", "17.00001"),
    ("2.625", "2.62425"),
    ("1/3", "0.3333"),
    (r"\sqrt2", "1.41421356"),
    ("10^{50}", "10^{50}+1"),
    (r"9^{9^5}", "9^{9^5}+1"),
    ("x+2n+1", "x+1"),
    (r"1\sqrt{19}", "1"),
    (r"4\sqrt{2}", r"4\sqrt(3)"),
    ("(a+5)(b+2)", "(a+5)(b+3)"),
    (r"\lfloor n/2\rfloor", r"\lfloor n/9\rfloor"),
    ("x", "|x|"),
    ("x", r"\sqrt{x^2}"),
    ("n", r"\lfloor x \rfloor"),
    (r"\cos(x)=\frac{42}{59}", r"\sin(x)=\frac{42}{59}"),
    (r"\log(e^{\ln 100})=2", r"\log(e^{\ln 107})=2"),
    ("40_9", "40_3"),
    ("40_9", "36"),
    (r"5\text{ inches}^2", r"5\text{ inches}^3"),
    (r"5\text{ cm}", r"5\text{ m}"),
    ("1-1/e", "1+1/e"),
    ("3", r"3 \text{ or } 4"),
    ("3", "3, 4"),
    ("3, 4", "3"),
    (r"\pm 2021", "2021"),
    ("1331 and 1728", "1728"),
    ("3", "3 = 4"),
    ("3", r"3 \approx 4"),
    ("3", r"3 \text{ or maybe } 4"),
    ("3", r"3 \text{ or 4}"),
    ("3", r"3 \text{ if lucky, else } 4"),
    ("3", "3 cm 4"),
    ("3", "either 3 or 4"),
    (r"\frac{a}{b}", r"\frac{b}{a}"),
    ("xy!", "xy"),
    (r"n \equiv 2 \pmod 5", r"n \equiv 2 \pmod 7"),
    (r"x+1 \text{ for } x>0", r"x+1 \text{ for } x>1"),
    (r"12 \text{ men}", r"12 \text{ women}"),
    ("4", "3 = 4"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1)", "(0,1)"),
    ("(1,3,2)", "[1,2,3]"),
    ("[0,1]", "0,1"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("1,1,2", "1,2,2"),
    ("2x+z=1", "1"),
    ("7=11a+c", "11a+c"),
    ("x=2", "y=2"),
    ("x+y-z+2=0", "5x-7y+11z+4=0"),
    ("x<3", "x>3"),
    (r"x\le3", "x<3"),
    ("x<3", "y<3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"\text{even}", r"\text{odd}"),
    ("42", r"\text{forty-two}"),
    ("2", "AZYUK2A"),
    ("C", "D"),
    ("C", "(C) 5 or (D) 6"),
    ("1,2,\\ldots,n", r"1,3,5,\ldots,2n-1"),
    ("1", "((((1"),
    ("0", ""),
    ("listen", "silent"),
    ("25", "There is no 25"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_accepts(gold: str, answer: str) -> None:
    score = MathVerifier().equal(gold, answer)
    assert (score.value, score.status) == (1.0, Status.CORRECT), score


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_rejects(gold: str, answer: str) -> None:
    score = MathVerifier().equal(gold, answer)
    assert score.value == 0.0, score
    assert score.status in (Status.WRONG, Status.UNPARSABLE)


EXACT = [
    (gold, answer)
    for gold, answer in SAME
    if "." not in gold and "%" not in gold + answer and "circ" not in gold + answer
]


@pytest.mark.parametrize(("gold", "answer"), EXACT)
def test_equality_of_exact_answers_is_symmetric(gold: str, answer: str) -> None:
    if "_2" not in gold and "textbf" not in answer:  # a base may be left out of the answer only
        assert MathVerifier().equal(answer, gold).value == 1.0


@pytest.mark.parametrize(
    ("policy", "gold", "answer", "accepted"),
    [
        (Policy(ordered=True), "1, 2", "2, 1", False),
        (Policy(ordered=True), "1, 2", "1, 2", True),
        (Policy(ordered=True), r"\{1, 2\}", r"\{2, 1\}", True),
        (Policy(percent=Percent.STRICT), r"50\%", "50", False),
        (Policy(percent=Percent.STRICT), r"50\%", "0.5", True),
        (Policy(percent=Percent.FACTOR), "50", "0.5", True),
        (Policy(units=False), "10", r"10 \text{ cm}", False),
        (Policy(units=False), r"10 \text{ cm}", r"10 \text{ cm}", True),
        (Policy(tolerance=0), "1.732", r"\sqrt{3}", False),
        (Policy(reduced=True), r"\frac{1}{2}", r"\frac{2}{4}", False),
        (Policy(reduced=True), r"\frac{1}{2}", r"\frac{1}{2}", True),
        (Policy(reduced=True), r"\frac{1}{2}", "0.5", True),
        (QWEN, "58500", "58503", True),
        (QWEN, "75", "0.75", True),
        (QWEN, "58500", "58600", False),
    ],
)
def test_every_field_of_the_policy_matters(policy: Policy, gold: str, answer: str, accepted: bool) -> None:
    assert MathVerifier(policy).equal(gold, answer).value == float(accepted)


def grade(gold: str, text: str, policy: Policy | None = None) -> tuple[float, Status]:
    verifier = MathVerifier() if policy is None else MathVerifier(policy)
    score = verifier(Attempt(task=Task(id="1", prompt="", answer=gold), text=text))
    return score.value, score.status


def test_the_reward_reads_the_text() -> None:
    assert grade(r"\frac{1}{2}", r"so \boxed{0.5}.") == (1.0, Status.CORRECT)
    assert grade("4", r"\boxed{5}") == (0.0, Status.WRONG)
    assert grade("4", "<think>is it \\boxed{4}?") == (0.0, Status.UNPARSABLE)
    assert grade("42", "The answer is 42.", Policy(finding=Finding.BOXED)) == (0.0, Status.UNPARSABLE)
    assert grade("42", "6 times 7 makes 42 apples in 3 baskets", QWEN)[0] == 0.0
    assert grade("3", "6 times 7 makes 42 apples in 3 baskets", QWEN)[0] == 1.0
    assert grade("3", "6 times 7 makes 42 apples in 3 baskets")[0] == 0.0


def test_hedged_answers_never_win() -> None:
    assert grade("3", r"either \boxed{3} or \boxed{4}")[0] == 0.0
    assert grade("4", r"either \boxed{3} or \boxed{4}")[0] == 0.0
    assert grade("3", r"\boxed{3 \text{ or } 4}")[0] == 0.0
    assert grade("4", r"\boxed{3} or maybe \boxed{4}")[0] == 0.0
    assert grade("4", "It is $3$ or $4$")[0] == 0.0
    assert grade("4", "The answer is 3 or 4.")[0] == 0.0
    assert grade("3, 4", "It is $3$ or $4$")[0] == 1.0
    assert grade("3, 4", r"both \boxed{3} and \boxed{4}")[0] == 1.0
    assert grade("4", r"first I thought \boxed{3}, but the sign was wrong, so it is \boxed{4}")[0] == 1.0


def test_gold_answers_are_checked_beforehand() -> None:
    verifier = MathVerifier()
    assert isinstance(verifier, TaskChecker)
    verifier.check_task(Task(id="1", prompt="", answer="5"))
    for answer in ("", " ", "$$", "9" * 5000, r"\frac{1}{"):
        with pytest.raises(TaskError, match="task 'the-id'"):
            verifier.check_task(Task(id="the-id", prompt="", answer=answer))


def test_running_out_of_time_is_no_verdict() -> None:
    score = MathVerifier(Policy(cpu_seconds=0.2)).equal("1000000000000000000!", "999999999999999999!")
    assert math.isnan(score.value)
    assert score.status is Status.TIMEOUT
    assert not score.graded


def test_a_score_says_which_tier_decided() -> None:
    equal = MathVerifier().equal
    assert equal("5", "5").why == "same text"
    assert equal("5", "5.0").why == "exact number"
    assert equal("x+1", "1+x").why == "exact form"
    assert equal(r"\sin 2x", r"2\sin x\cos x").why == "numeric probing"
    assert equal("1.732", r"\sqrt3").why == "tolerance"
    assert equal(r"\text{odd}", "Odd").why == "same words"


@pytest.mark.parametrize("gold", [r"\int_0^1 x dx", r"\lim_{x\to0}\frac{\sin x}{x}", r"\oint f"])
def test_a_gold_that_is_still_to_be_evaluated_is_refused(gold: str) -> None:
    with pytest.raises(TaskError, match="is an integral or a limit; give its value"):
        MathVerifier().check_task(Task(id="1", prompt="", answer=gold))
    MathVerifier().check_task(Task(id="1", prompt="", answer=r"x \in (0, 1), \limit"))
