r"""Whether a hint gives the answer away: what makes it a solution in disguise, and a recipe trained on it worthless.

The answer counts in every form the math verifier takes for equal: other spellings, other fractions, number words,
expressions that only need to be worked out. A small number that belongs to something else (the 2 of ``x^2`` or ``2x``)
is not an answer, and neither is one that stands in the problem, unless the hint concludes with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from fractions import Fraction

from stepgym.agents.number_words import in_digits
from stepgym.records import Attempt, Status, Task
from stepgym.rewards.maths.extraction import has_final_answer
from stepgym.rewards.maths.number import Number, read_number
from stepgym.rewards.maths.policy import Policy, Tolerant
from stepgym.rewards.maths.text import clean, words
from stepgym.rewards.maths.verifier import MathVerifier
from stepgym.tasks.reference import last_step

LONGEST = 4_000
"""Characters of a hint that are checked; nothing longer is a hint."""
MOST_EXPRESSIONS = 64
SECONDS = 5.0
"""Of comparing expressions, for one hint."""
SMALL = 12
"""Coefficients, exponents and indices up to here are not taken for answers."""
ENDING = 200
"""Characters at the end of the solution, spaces apart, that are its final computation."""
WINDOW = 24
"""Characters of the final computation that a hint may not repeat if there is a digit among them."""
SHORTEST_STEP = 8
"""Characters of a last step that it takes to be recognised as a whole."""

_VERIFIER = MathVerifier(Policy(cpu_seconds=0.25))
_ROUNDING = MathVerifier(Policy(cpu_seconds=0.25, tolerant=Tolerant.ANY_GOLD))
_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_LITERAL = re.compile(
    rf"(?:\\frac\s*\{{\s*-?[0-9]+\s*\}}\s*\{{\s*[0-9]+\s*\}}|\\frac[0-9]{{2}}|[0-9]+\s*/\s*[0-9]+|{_PLAIN}|\.[0-9]+)"
    r"(?:\s*(?:%|percent))?"
)
_OWNER = re.compile(r"[a-zA-Z](?![a-zA-Z])|\\[a-z]|[\^(]")
"""What a number before it is a coefficient of."""
_PROSE = re.compile(r"[(\"']*[A-Za-z][A-Za-z'-]+[)\"'.,;:!?]*")
_RELATION = re.compile(r"=|:|\\(?:approx|equiv|implies|iff|to|Rightarrow)(?![a-zA-Z])")
_FORMULA = re.compile(r"[0-9].*[^0-9.]|[^0-9.].*[0-9]|[0-9]\.[0-9]{2}|\\|[a-z] ?\S")
"""What is worth comparing: more than a whole number or a letter."""
_LAYOUT = re.compile(r"\\?boxed|[\s{}*]")


def gives_away(hint: str, task: Task) -> str:
    """How `hint` gives the answer of `task` away, as a clause that begins with a verb; "" if it does not.

    Bounded in time: a hint that cannot be checked within the bounds counts as one that gives the answer away. Of a task
    without a gold answer, such as a proof, only the end of the solution is protected.
    """
    if len(hint) > LONGEST:
        return f"has {len(hint)} characters, more than the {LONGEST} that can be checked"
    if has_final_answer(hint):
        return "has a \\boxed answer"
    checks = (_concludes, _states, _implies, _copies) if task.answer else (_copies,)
    return next(filter(None, (check(hint, task) for check in checks)), "")


def _concludes(hint: str, task: Task) -> str:
    correct = _VERIFIER(Attempt(task=task, text=in_digits(hint))).status is Status.CORRECT
    return "concludes with the answer" if correct else ""


def _states(hint: str, task: Task) -> str:
    said, given = _readable(hint), _readable(task.prompt)
    gold = clean(task.answer)
    number = read_number(gold)
    if number is None:
        if (_spelled(gold, said) and not _spelled(gold, given)) or (_listed(gold, said) and not _listed(gold, given)):
            return f"contains the answer {task.answer[:60]}"
        return ""
    if number.value.denominator > 1 or number.percent:  # the same value otherwise written may be what is asked for
        in_problem = _squeezed(gold) in _squeezed(given)
    else:
        in_problem = any(_same(number, literal) for literal in _literals(given))
    if in_problem:
        return ""
    if any(_same(number, literal) for literal in _literals(said, loose=True)):
        return f"contains the answer {task.answer[:60]}"
    return ""


def _readable(text: str) -> str:
    return clean(in_digits(text[:LONGEST], lone_one=False))


def _literals(text: str, *, loose: bool = False) -> Iterator[Number]:
    """The numbers in a cleaned text, with a minus too where there is one before them, and the parts of fractions.

    With `loose` only those that stand for themselves: no parts of fractions, no small coefficients and exponents.
    """
    for match in _LITERAL.finditer(text):
        number = read_number(match[0])
        if number is None:
            continue
        before, after = text[max(0, match.start() - 2) : match.start()], text[match.end() : match.end() + 2]
        owned = before[-1:].isalpha() or before.endswith(("^", "_", "^{", "_{")) or _OWNER.match(after)
        if loose and owned and abs(number.value) <= SMALL:
            continue
        yield number
        if before.rstrip().endswith("-"):
            yield Number(-number.value, number.place, number.percent)
        if not loose:
            yield from (Number(Fraction(int(digits))) for digits in re.findall(r"[0-9]{1,100}", match[0]))


def _same(gold: Number, number: Number) -> bool:
    if number.percent or gold.percent:
        return any(a == b for a in (gold.value, _share(gold)) for b in (number.value, _share(number)))
    if number.place is not None and number.place <= -2 and gold.value.denominator > 1:
        return abs(gold.value - number.value) <= Fraction(10) ** number.place  # rounded, or cut off
    return gold.value == number.value


def _share(number: Number) -> Fraction:
    return number.value / 100 if number.percent else number.value


def _spelled(gold: str, text: str) -> bool:
    """Whether an answer that is no number stands in `text`: words as words, a formula by its characters."""
    if re.fullmatch(r"[a-z ]{2,}", said := words(gold)):
        return f" {said} " in f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "
    if re.fullmatch(r"\(?[A-Z]\)?", gold):  # a choice: the bare letter is too common
        letter = gold.strip("()")
        return re.search(rf"\({letter}\)|\b(?:option|choice|answer) {letter}\b", text) is not None
    squeezed = _squeezed(gold)
    return len(squeezed) > 2 and squeezed in _squeezed(text)


def _listed(gold: str, text: str) -> bool:
    """Whether all parts of a tuple, set or interval of numbers stand in `text`, wherever."""
    group = re.fullmatch(r"\\?[(\[{](.*?)\\?[)\]}]", gold)
    parts = [read_number(part.strip()) for part in group[1].split(",")] if group else []
    literals = list(_literals(text, loose=True)) if len(parts) > 1 else []
    return len(parts) > 1 and all(
        part is not None and any(_same(part, literal) for literal in literals) for part in parts
    )


def _implies(hint: str, task: Task) -> str:
    """Whether an expression in the hint equals the answer, and is not quoted from the problem."""
    deadline = time.monotonic() + SECONDS
    given = _squeezed(clean(task.prompt))
    for count, expression in enumerate(_expressions(_readable(hint))):
        if _squeezed(expression) in given or (task.answer == "0" and "=" in expression):  # the form of any equation
            continue
        if count >= MOST_EXPRESSIONS or time.monotonic() > deadline:
            return "has too many formulas to be checked"
        verifier = _ROUNDING if re.search(r"[0-9]\.[0-9]{2}", expression) else _VERIFIER
        if verifier.equal(task.answer, expression).status is Status.CORRECT:
            return f"contains {expression[:60]!r}, which is the answer"
    return ""


def _expressions(said: str) -> Iterator[str]:
    """Formulas in a cleaned text, found by the words around them, and the sides of their equations; each once."""
    seen: set[str] = set()
    for run in _runs(said):
        for part in (run, *_RELATION.split(run)):
            part = part.strip(" .,;:!?'\"")
            if part not in seen and len(part) <= 200 and _FORMULA.search(part):
                seen.add(part)
                yield part


def _runs(said: str) -> Iterator[str]:
    run: list[str] = []
    depth = 0
    for token in [*said.split(" "), "end"]:
        prose = _PROSE.fullmatch(token) is not None or token in ("a", "A", "I")
        if not prose:
            run.append(token)
            depth += sum(map(token.count, "([{")) - sum(map(token.count, ")]}"))
        if run and (prose or (depth <= 0 and token.endswith((".", ",", ";", ":", "!", "?")))):
            yield " ".join(run)
            run, depth = [], 0


def _copies(hint: str, task: Task) -> str:
    step, said, given = (_squeezed(clean(part)) for part in (last_step(task)[-LONGEST:], hint, task.prompt[:LONGEST]))
    if len(step) >= SHORTEST_STEP and step in said and step not in given:
        return "repeats the last step of the solution"
    ending = step[-ENDING:]
    windows = (ending[start : start + WINDOW] for start in range(len(ending) - WINDOW + 1))
    if any(w in said and w not in given and any(map(str.isdigit, w)) for w in windows):
        return "copies the end of the solution"
    return ""


def _squeezed(cleaned: str) -> str:
    return _LAYOUT.sub("", cleaned).lower()
