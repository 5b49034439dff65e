"""Hostile answers: each is decided in bounded CPU time and memory, nothing is executed, nothing escapes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepgym.records import Attempt, Task
from stepgym.rewards import MathVerifier
from stepgym.sandboxes import shared_pool
from stepgym.sandboxes.workers import MEMORY_BYTES

GENERIC = (
    r"\begin{vmatrix}" + r"\\".join("&".join(f"x_{{{i}{j}}}" for j in range(9)) for i in range(9)) + r"\end{vmatrix}"
)
ROOTS = r"\{" + ",".join(rf"{k}+\sqrt{{2}}" for k in range(150)) + r"\}"

HOSTILE = {
    "tower": ("1", "9^{9^{9}}"),
    "tower plus one": ("9^{9^{9}}", "9^{9^{9}}+1"),
    "higher tower": ("2", "5^(5^(5^(5^5)))"),
    "two towers": ("9^{9^{9^{9}}}", "9^{9^{9^{8}}}"),
    "factorial": ("1", "1000000000!"),
    "factorials": ("5", "100!!!!!!!"),
    "factorial tower": ("1", "((((10!)!)!)!)"),
    "postfixes": ("1", "x" + "!" * 3000),
    "python powers": ("1", "2**(3**25)"),
    "power of ten": ("1", "10^(10^8)"),
    "exponent": ("1", "1e999999999"),
    "braces": ("1", "{" * 1000 + "1" + "}" * 1000),
    "parentheses": ("1", "(" * 200 + "1" + ")" * 200),
    "fractions": ("1", r"\frac{1}{" * 60 + "2" + "}" * 60),
    "roots": ("1", r"\sqrt{" * 500 + "2" + "}" * 500),
    "left": ("1", r"\left(" * 500 + "1" + r"\right)" * 500),
    "signs": ("1", "-" * 4000 + "1"),
    "signs after signs": ("1", "2*" + "-" * 4000 + "1"),
    "powers": ("1", "x^" * 2000 + "2"),
    "moduli": ("1", "x" + " mod 2" * 600),
    "bars": ("1", "|" * 1000),
    "pluses": ("1", "+1" * 2000),
    "plus-minus": (r"\pm 1", "(" + ",".join([r"\pm 1"] * 60) + ")"),
    "digits": ("1", "1" * 100_000),
    "long integers": ("1" * 3000, "1" * 2999 + "2"),
    "decimals": ("1", "0." + "9" * 3000),
    "dollars": ("1", "$1$" * 20_000),
    "spaces": ("1", " " * 100_000),
    "boxes": ("1", r"\boxed{" * 3000),
    "matrix": ("1", r"\begin{pmatrix}" + r"\\".join("&".join(["1"] * 60) for _ in range(60)) + r"\end{pmatrix}"),
    "determinant": (GENERIC, GENERIC.replace("x_{01}", "y")),
    "geometric": (r"\frac{x^{800}-1}{x-1}", "+".join(f"x^{k}" for k in range(800))),
    "power of a sum": ("(x+y+z+w)^{60}", "(w+y+z+x)^{61}"),
    "nested powers": ("x^{x^{x^{x}}}", "x^{x^{x^{x+1}}}"),
    "exponentials": (r"e^{e^{e^{e^{10}}}}", r"e^{e^{e^{e^{11}}}}"),
    "binomial": ("1", r"\binom{10^9}{5*10^8}"),
    "large sine": ("1", r"\sin(10^{10^{10}})"),
    "long sum": ("1", r"\sum_{k=1}^{10^9} k"),
    "long product": ("1", r"\prod_{k=1}^{10^6} (1+1/k)"),
    "long set": (ROOTS, ROOTS.replace("2}", "3}")),
    "long list": ("1," * 900 + "1", "1," * 900 + "2"),
    "NUL": ("1", "1\x00"),
    "surrogates": ("1", "\ud800\udfff"),
    "foreign digits": ("123", "١٢٣"),
    "regex bait": ("1", r"\text{" * 900 + "a" * 900),
    "commas": ("1", ",000" * 1000),
    "zero division": ("1", "1/(1-1)"),
    "zero to zero": ("2", "0^0"),
    "subclasses": ("2", "().__class__.__bases__[0].__subclasses__()"),
    "lambda": ("1", "lambda: 0"),
}


def used_cpu() -> float:
    """Seconds of CPU time of this process, of its workers, and of those that ended."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for worker in [*shared_pool()._idle, *shared_pool()._busy]:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def kilobytes(name: str) -> int:
    """A line of this process's status, such as its resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.mark.parametrize("name", HOSTILE)
def test_is_decided_in_bounds(name: str) -> None:
    gold, answer = HOSTILE[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    started, memory = used_cpu(), kilobytes("VmRSS")
    score = MathVerifier().equal(gold, answer)
    assert used_cpu() - started < 2.0
    assert score.value != 1.0, score
    text = MathVerifier()(Attempt(task=Task(id="1", prompt="", answer=gold), text=rf"\boxed{{{answer}}}"))
    assert text.value != 1.0 or name in ("boxes", "dollars")
    assert kilobytes("VmHWM") - memory + MEMORY_BYTES // 1024 < 512 * 1024  # here, and in a worker at its limit


@pytest.mark.parametrize(
    "payload",
    [
        "__import__('os').mkdir({path!r})",
        "__import__(chr(111)+chr(115)).mkdir({path!r})",
        "eval(\"__import__('os').mkdir({path!r})\")",
        "exec('import os; os.mkdir({path!r})')",
        "(lambda: __import__('os').mkdir({path!r}))()",
        "\\sqrt{{__import__('os').mkdir({path!r})}}",
        "1 if __import__('os').mkdir({path!r}) else 2",
    ],
)
def test_code_is_never_executed(payload: str, tmp_path: Path) -> None:
    path = tmp_path / "executed"
    answer = payload.format(path=str(path))
    for gold in ("1", r"\sum_{k=1}^{\infty} \frac{1}{k^2}", answer + "1"):
        assert MathVerifier().equal(gold, answer).value != 1.0
        assert MathVerifier().equal(answer, gold).value != 1.0
    assert not path.exists()
