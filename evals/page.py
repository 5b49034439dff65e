"""The viewer's page as HTML. Whatever comes out of a run is untrusted, and passes through `escaped`."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepgym.evals.page_style import SCRIPT, STYLE
from stepgym.records import Status, Step, Stop, Trajectory
from stepgym.trajectories import StoredTrajectory

MAX_TEXT = 20_000
"""Characters of one text on the page; of a longer one the beginning and the end are shown."""


class Outcome(StrEnum):
    """What became of an episode."""

    CORRECT = "correct"
    WRONG = "wrong"
    GRADED = "graded"
    UNGRADED = "ungraded"
    FAILED = "failed"


COLOURS = {
    Outcome.CORRECT: "good",
    Outcome.WRONG: "bad",
    Outcome.GRADED: "",
    Outcome.UNGRADED: "odd",
    Outcome.FAILED: "odd",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A name and what stands beside it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Card:
    """One episode on the page."""

    outcome: Outcome
    html: str


def outcome_of(trajectory: Trajectory) -> Outcome:
    """By its last verdict."""
    if trajectory.stop is Stop.ERROR:
        return Outcome.FAILED
    if not trajectory.graded:
        return Outcome.UNGRADED
    status = trajectory.steps[-1].score.status
    if status is Status.CORRECT:
        return Outcome.CORRECT
    return Outcome.WRONG if status in (Status.WRONG, Status.UNPARSABLE) else Outcome.GRADED


def card(line: StoredTrajectory, kept: Sequence[Row] = ()) -> Card:
    """A closed line with the outcome, that opens to show every step, and what else was `kept` of the episode."""
    trajectory = line.trajectory
    outcome = outcome_of(trajectory)
    reward = f"{trajectory.reward:g}" if trajectory.graded else "–"
    usage = trajectory.usage
    facts = f"{trajectory.stop}, {usage.completion_tokens:,} tokens, {usage.seconds:.1f} s, {trajectory.agent}"
    parts = [
        f'<details class="episode" data-kind="{outcome}"><summary>',
        f'<span class="pill {COLOURS[outcome]}">{outcome} {reward}</span>',
        f'<span class="title">{escaped(trajectory.task.id, most=120)} · {line.sample}</span>',
        f'<span class="start">{escaped(trajectory.task.prompt, most=160)}</span></summary>',
        f'<div class="body"><p class="soft">{escaped(facts, most=300)}</p>',
        _block("Gold answer", trajectory.task.answer) if trajectory.task.answer else "",
        *(_step(step, number) for number, step in enumerate(trajectory.steps, start=1)),
        *(_block(each.name, each.value) for each in kept),
        _block("Error", trajectory.error) if trajectory.error else "",
        "</div></details>",
    ]
    return Card(outcome, "".join(parts))


def page(title: str, tiles: Sequence[Row], results: Sequence[Row], cards: Sequence[Card], *, episodes: int) -> str:
    """The whole page: `tiles` are the totals, `results` a table, `cards` those of the `episodes` it has room for."""
    kinds = [outcome for outcome in Outcome if any(card.outcome is outcome for card in cards)]
    buttons = "".join(f'<button data-kind="{kind}" aria-pressed="false">{kind}</button>' for kind in kinds)
    table = "".join(f"<tr><th>{escaped(row.name)}</th><td>{escaped(row.value)}</td></tr>" for row in results)
    less = f", the first {len(cards)} of {episodes:,} episodes" if len(cards) < episodes else ""
    policy = f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body><main><h1>{escaped(title)}</h1>"
        f'<div class="tiles">{"".join(map(_tile, tiles))}</div>{f"<table>{table}</table>" if table else ""}'
        f'<nav><button data-kind="" aria-pressed="true">all</button>{buttons}'
        '<input type="search" placeholder="Search" aria-label="Search"></nav>'
        f'<p class="soft"><span id="shown">{len(cards)}</span> shown{less}. '
        "Keys: j and k go on and back, / searches.</p>"
        f"{''.join(card.html for card in cards)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def escaped(text: str, *, most: int = MAX_TEXT) -> str:
    """`text` as HTML, cut in the middle if it is longer than `most` characters."""
    if len(text) > most:
        cut = f" … {len(text) - most:,} characters left out … " if most >= 1000 else " … "
        text = f"{text[: most // 2]}{cut}{text[-(most // 2) :]}"
    return html.escape(text.encode("utf-8", "replace").decode())  # lone surrogates cannot be written to a file


def _step(step: Step, number: int) -> str:
    verdict = f"{step.score.status}, {step.score.value:g}" + (f": {step.score.why}" if step.score.why else "")
    return (
        _block(f"Step {number}: seen", step.observation)
        + _block("Reply" if step.reply.finished else "Reply, cut off by the token limit", step.reply.text, kind="reply")
        + f'<p class="soft">{escaped(verdict, most=600)}</p>'
    )


def _block(title: str, text: str, *, kind: str = "") -> str:
    return f'<h3>{title}</h3><pre class="{kind}">{escaped(text)}</pre>'


def _tile(row: Row) -> str:
    return f'<div class="tile"><b>{escaped(row.value)}</b><span>{escaped(row.name)}</span></div>'


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
