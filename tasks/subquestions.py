"""Sub-questions as a model writes them: each begins with the tag ``<subquestion>``.

    <subquestion>What is the area of the square?
    <subquestion>What share of it does the circle cover?

A sub-question ends where the next tag begins. A closing tag ends it too and is dropped, with what stands between it and
the next sub-question. The format is A2D's (arXiv 2602.00759, section 2.2 and appendix 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepgym.errors import TaskError

TAG = "<subquestion>"
CLOSING_TAG = "</subquestion>"

DECOMPOSE = (
    "{prompt}\n\n"
    "Do not solve this problem. Break it into a few sub-questions, in the order in which answering them leads to the "
    "solution. Begin each with <subquestion>, write nothing before the first, and do not answer any."
)
"""What a decomposer is told (a template; the wording of the paper's appendix 6 is not published)."""

MAX_SUBQUESTIONS = 64
MAX_CHARACTERS = 2_000
"""Characters of one sub-question."""
MIN_RESPONSE = 11
"""Characters of a whole response: more than 10."""


def parse_subquestions(text: str) -> tuple[str, ...]:
    """The sub-questions in a response, in order, without tags and surrounding white space; empty ones are left out.

    What stands before the first tag is ignored, so a text without tags has none. At most `MAX_SUBQUESTIONS` are read,
    each to at most `MAX_CHARACTERS`: `subquestions_fault` tells whether that, or anything else, was left out.
    """
    found = list(filter(None, _contents(text)))[:MAX_SUBQUESTIONS]
    return tuple(content[:MAX_CHARACTERS].rstrip() for content in found)


def format_subquestions(subquestions: Iterable[str]) -> str:
    """One line for each sub-question: what `parse_subquestions` reads back.

    Raises `TaskError` for a sub-question that cannot be written so: an empty one, or one with a tag in it.
    """
    lines = []
    for subquestion in subquestions:
        if not subquestion.strip():
            raise TaskError("a sub-question is empty")
        if TAG in subquestion or CLOSING_TAG in subquestion:
            raise TaskError(f"a sub-question contains a tag: {subquestion!r:.80}")
        lines.append(f"{TAG}{subquestion.strip()}")
    return "\n".join(lines)


def subquestions_fault(text: str) -> str:
    """The first rule of A2D's format (appendix 7) that a response breaks, as a clause for a person; "" if none.

    The rules: it begins with the tag; no sub-question contains more than one; it has more than 10 characters; no
    sub-question is empty. White space around the response is ignored. The paper says nothing of closing tags: one that
    closes nothing shows that sub-questions were nested, which is more than one tag in one. Beyond the paper, there are
    at most `MAX_SUBQUESTIONS` of at most `MAX_CHARACTERS`, which no honest decomposition comes near.
    """
    text = text.strip()
    if len(text) < MIN_RESPONSE:
        return f"{len(text)} characters, not more than 10"
    if not text.startswith(TAG):
        return f"does not begin with {TAG}"
    contents = list(_contents(text))
    if not all(contents):
        return "a sub-question is empty"
    if any(part.count(CLOSING_TAG) > 1 for part in text.split(TAG)):
        return "a sub-question contains another"
    if len(contents) > MAX_SUBQUESTIONS:
        return f"{len(contents)} sub-questions, more than {MAX_SUBQUESTIONS}"
    if (longest := max(map(len, contents))) > MAX_CHARACTERS:
        return f"a sub-question has {longest} characters, more than {MAX_CHARACTERS}"
    return ""


def _contents(text: str) -> Iterator[str]:
    for part in text.split(TAG)[1:]:
        yield part.partition(CLOSING_TAG)[0].strip()
