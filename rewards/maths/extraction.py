r"""The final answer in a model's text.

Only what comes after the last ``</think>`` counts, and a thought that is still open holds no final answer. The last
``\boxed{…}`` wins; boxes that stand side by side, with nothing between them but commas and conjunctions, are one list
(so a hedge of two boxes is a list of two, and never equals a single gold). Every search here is linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stepgym.rewards.maths.policy import Finding

MAX_TAIL = 20_000
"""Characters at the end of a text that are searched for an answer that is not boxed."""

MAX_SENTENCE = 300
"""Characters of a text that may state its answer by being it. In a longer one a formula at the end is as likely where
the model was cut off, so it needs a box or an explicit statement."""

_BOX = re.compile(r"(?:\\f?|begin|\b)boxed\s*\{|\\fbox\s*\{")
_BRACES = re.compile(rf"(?P<box>{_BOX.pattern})|\\.|[{{}}]", re.DOTALL)
_BETWEEN = re.compile(
    r"(?:[\s,;.:$&+/|*()-]|\\(?:[\[\]()\\,;:! ]|q?quad\b|lor\b|vee\b)|\\text\{[^{}]{0,60}\}"
    r"|\b(?:and|or|vs|versus|either|else|also|maybe|perhaps|possibly|alternatively|it|could|might|be)\b"
    r"|\(?\b(?:(?:option|case|part|answer|solution)\s+)?(?:[0-9]{1,2}|[a-e]|i{1,3}|iv)[.):])*",
    re.IGNORECASE,
)
_INSTEAD = re.compile(r"\s*\$?[\s,;(]*(?:or|alternatively)\b[^.\n]{0,60}", re.IGNORECASE)
_ALTERNATIVE = re.compile(r"[\s,;]*(?:and|or)?[\s,;]*(?:maybe|perhaps|possibly)?\s*", re.IGNORECASE)
_STATED = re.compile(
    r"(?:final\s+answer|answer)\s*(?:\**\s*(?:is|are|=)\s*:?|\**\s*:\**|\\?:)"
    r"(?:\s*(?:the\s+)?(?:final\s+)?answer\s+is\s*:?)?",
    re.IGNORECASE,
)
_LAST_WORDS = re.compile(
    r"\s*(?:I hope (?:it|this) is correct\.?|Therefore,? the answer is correct\.?)\s*\Z", re.IGNORECASE
)
_CHAT_TOKEN = re.compile(r"<\|[A-Za-z_0-9]{1,32}\|>(?:user|assistant)?")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\$((?:\\\$|[^$\n])+)\$", re.DOTALL)
_REASON = re.compile(r"\s+(?:because|since|so that|as required|which)\b|(?<![0-9])\.\s|\.\s(?=[A-Z])|\n")
_IS = re.compile(r"\b(?:is|are|equals|be|find that|get|answer:?|have)\s+", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")


def has_final_answer(text: str) -> bool:
    r"""Whether `text` holds a complete ``\boxed{…}`` outside its thoughts. Cheap enough for every step."""
    if "box" not in text:
        return False
    text = spoken(text)
    return bool(_boxes(text))


def spoken(text: str) -> str:
    """What is said aloud: after the last ``</think>``, before a ``<think>`` that was never closed."""
    if "<think>" not in text and "</think>" not in text:
        return text
    return text.rpartition("</think>")[2].partition("<think>")[0]


def final_answers(text: str, finding: Finding) -> tuple[str, ...]:
    """The final answer of `text`, empty if there is none; several strings if it is spread over adjacent boxes."""
    text = spoken(text)
    if "boxed" in text or "\\fbox" in text:
        boxes = last_boxes(text)
        if boxes or finding is Finding.BOXED:
            return boxes
    if finding is Finding.BOXED:
        return ()
    tail = _LAST_WORDS.sub("", _CHAT_TOKEN.sub("", text[-MAX_TAIL:]).strip())
    answer = _stated(tail) or (_last_number(tail) if finding is Finding.LAST_NUMBER else _concluded(tail))
    answer = answer.rstrip(" .,;")
    return (answer,) if answer else ()


def last_boxes(text: str) -> tuple[str, ...]:
    r"""The content of the last complete ``\boxed{…}``, and of those right before it; in order, duplicates once."""
    found: list[str] = []
    start = None
    for box in reversed(_boxes(text)):
        if start is not None and not any(gap.fullmatch(text, box.end + 1, start) for gap in (_BETWEEN, _INSTEAD)):
            break
        content = _BOX.sub("{", text[box.inside : box.end]).strip()
        if content not in found:
            found.append(content)
        start = box.start
    return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a complete box begins, where its content begins, and where its closing brace stands."""

    start: int
    inside: int
    end: int


def _boxes(text: str) -> list[_Box]:
    """All complete boxes that are in no other one, by beginning. One pass: unclosed ones must not make it quadratic."""
    opened: list[_Box | None] = []
    boxes: list[_Box] = []
    for match in _BRACES.finditer(text, _first_box(text)):
        if match["box"]:
            opened.append(_Box(match.start(), match.end(), -1))
        elif match[0] == "{":
            opened.append(None)
        elif match[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                while boxes and boxes[-1].start > box.start:
                    boxes.pop()  # within this one
                boxes.append(_Box(box.start, box.inside, match.start()))
    return boxes


def _first_box(text: str) -> int:
    found = [at for at in (text.find("boxed"), text.find("\\fbox")) if at >= 0]
    return max(0, min(found, default=len(text)) - len("begin"))


def _stated(text: str) -> str:
    ends = [match.end() for match in _STATED.finditer(text)]
    if not ends:
        return ""
    rest = text[ends[-1] :].strip().strip("*").strip()
    return "" if "\n\n" in rest else _leading(rest)  # what more paragraphs follow was not final


def _leading(text: str) -> str:
    """The answer that `text` begins with: a formula, else the first clause, or what its last "is" says."""
    text = text.removeprefix('\\"').removeprefix('"').strip()
    formula = _FORMULA.match(text)
    if formula:
        rest = _REASON.split(text[formula.end() :], maxsplit=1)[0]
        return text[: formula.end()] + (rest if len(rest) <= 40 else "")
    clause = _REASON.split(text, maxsplit=1)[0].strip().strip("*\"'")
    return _IS.split(clause)[-1]


def _concluded(text: str) -> str:
    """Of a short text: all of it if it is one line, else the last formula, else what its last "is" says."""
    if len(text) > MAX_SENTENCE:
        return ""
    line = text.strip().rsplit("\n\n", 1)[-1].strip()
    formulas = list(_FORMULA.finditer(line))
    if formulas:
        starts = formulas[0].start() == 0
        if starts and len(line) <= 200 and len(line) - formulas[-1].end() <= 40 and not _IS.search(line):
            return line
        return formulas[0][0] if starts and len(formulas) == 1 else _last_list(line, formulas)
    if len(line) <= 200 and not _IS.search(line):
        return _REASON.split(line, maxsplit=1)[0]
    sentence = re.split(r"(?<=[a-z])\.\s", line.rstrip(". "))[-1]
    return _REASON.split(_IS.split(sentence)[-1], maxsplit=1)[0]


def _last_list(line: str, formulas: list[re.Match[str]]) -> str:
    """The last formula, with those it is an alternative to: "$3$ or $4$" is two answers, not the second."""
    first = len(formulas) - 1
    while first and _ALTERNATIVE.fullmatch(line, formulas[first - 1].end(), formulas[first].start()):
        first -= 1
    return line[formulas[first].start() : formulas[-1].end()]


def _last_number(text: str) -> str:
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "").rstrip(".") if numbers else ""
