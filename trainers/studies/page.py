"""The report of a study: one HTML page that needs nothing else, but for its links to the runs beside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from stepgym.evals.page import escaped
from stepgym.store import write_whole
from stepgym.trainers.making import make_recipe, settings_of
from stepgym.trainers.report_style import STYLE
from stepgym.trainers.studies.report import ClaimReport, Report, table_of
from stepgym.trainers.studies.study import Arm, Sheet, Study, Verdict

MORE = """
.claim { border-left: 4px solid var(--line); padding: .1rem 0 .1rem 1rem; margin: 1rem 0 }
.claim p { margin: 0 } .claim span { color: var(--soft); font: 14px/1.5 system-ui, sans-serif }
.held { border-color: var(--good) } .failed { border-color: var(--bad) }
.held b { color: var(--good) } .failed b { color: var(--bad) }
td:first-child, th:first-child { text-align: left !important }
"""


def write_page(path: Path, report: Report, study: Study, picture: bytes) -> None:
    """Write the page."""
    body = [
        f"<h1>{escaped(report.title)}</h1>",
        f'<p class="lead">{escaped(report.hypothesis)}</p>',
        *map(_claim, report.claims),
        f'<img alt="Curves and results" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
        *(_sheet(sheet) for sheet in (table_of(report, study.columns), *report.sheets)),
        *_failures(report),
        "<h2>Arms</h2>",
        *map(_arm, study.arms),
        "<h2>What to make of it</h2>",
        *(f"<p>{escaped(text)}</p>" for text in report.caveats),
        "<h2>Runs</h2>",
        *_links(study, report),
    ]
    write_whole(
        path,
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escaped(report.title)} · stepgym</title><style>{STYLE}{MORE}</style>"
        f"<main>{''.join(body)}</main></html>\n",
    )


def _claim(claim: ClaimReport) -> str:
    kind = claim.verdict.value if claim.verdict is not Verdict.UNDECIDED else ""
    return (
        f'<div class="claim {kind}"><p><b>{escaped(claim.verdict)}</b> · {escaped(claim.text)}</p>'
        f"<span>{escaped(claim.numbers)}</span></div>"
    )


def _sheet(sheet: Sheet) -> str:
    return f"<h2>{escaped(sheet.title.capitalize())}</h2>{_table(sheet.head, sheet.rows)}"


def _failures(report: Report) -> list[str]:
    if not report.failures:
        return []
    return ["<h2>Runs that failed</h2>", _table(("run", "why"), [(f.title, f.why) for f in report.failures])]


def _arm(arm: Arm) -> str:
    rows = [
        (
            stage.recipe,
            str(stage.steps),
            " ".join(
                f"{name}={value}" for name, value in settings_of(make_recipe(stage.recipe, stage.settings)).items()
            ),
            f"{stage.rehearsal:g} × NLL of {stage.rehearsed}" if stage.rehearsal else "none",
        )
        for stage in arm.stages
    ]
    return f"<h3>{escaped(arm.name)}</h3><p>{escaped(arm.about)}</p>" + _table(
        ("recipe", "steps", "settings", "rehearsal"), rows, kind="settings"
    )


def _links(study: Study, report: Report) -> Iterable[str]:
    """To the training reports, by the folders' fixed layout."""
    for runs in (*report.starts, *report.arms):
        stages = [arm.stages for arm in study.arms if arm.name == runs.name]
        stages += [(start.training,) for start in study.starts if start.name == runs.name]
        places = [
            f"seed-{seed}/{runs.name}/{number}-{stage.recipe}"
            for seed in runs.by_seed
            for number, stage in enumerate(stages[0], start=1)
        ]
        links = " · ".join(f'<a href="{quote(place)}/report.html">{escaped(place)}</a>' for place in places)
        yield f"<p>{links}</p>" if links else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, kind: str = "numbers") -> str:
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{top}</tr>{lines}</table></div>'
