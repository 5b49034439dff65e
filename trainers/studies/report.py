"""What a study found: as a record, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.trainers.studies.pool import Failure
from stepgym.trainers.studies.results import Outcome, Results, Spread, spread
from stepgym.trainers.studies.study import Sheet, Verdict

CAVEATS = (
    "A miniature shows that the mechanics work, and where they do not, and nothing of how large models fare. On this "
    "problem imitating the experts (SFT) is far cheaper than any of the methods; the papers' claim that SFT fails on "
    "hard problems cannot be tested here.",
    "A claim counts as held if every seed shows it and as failed if none does. Few seeds agree by chance, too.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsReport:
    """The runs of an arm or a warm start."""

    name: str
    about: str
    measures: Mapping[str, Spread]
    """All that was measured, over seeds."""
    seconds: Spread
    """Sampling and learning, of one run."""
    steps: Spread
    idle_steps: Spread
    by_seed: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimReport:
    """What became of a claim."""

    text: str
    verdict: Verdict
    numbers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``study.json``."""

    study: str
    title: str
    hypothesis: str
    seeds: int
    claims: tuple[ClaimReport, ...]
    starts: tuple[RunsReport, ...]
    arms: tuple[RunsReport, ...]
    sheets: tuple[Sheet, ...]
    failures: tuple[Failure, ...]
    caveats: tuple[str, ...]


def make_report(results: Results, failures: Sequence[Failure]) -> Report:
    """Check the claims, and put means and spreads together."""
    study = results.study
    seeds = {seed for by_seed in results.outcomes.values() for seed in by_seed}
    found = [(claim.text, claim.check(results)) for claim in study.claims]
    return Report(
        study=study.name,
        title=study.title,
        hypothesis=study.hypothesis,
        seeds=len(seeds),
        claims=tuple(
            # One seed decides nothing, however many of its runs agree.
            ClaimReport(text=text, verdict=f.verdict if len(seeds) > 1 else Verdict.UNDECIDED, numbers=f.numbers)
            for text, f in found
        ),
        starts=tuple(_runs(results, s.name, "the warm start") for s in study.starts),
        arms=tuple(_runs(results, arm.name, arm.about) for arm in study.arms),
        sheets=tuple(study.sheets(results)) if study.sheets else (),
        failures=tuple(failures),
        caveats=(*study.caveats, *CAVEATS),
    )


def format_report(report: Report, columns: Sequence[str]) -> str:
    """For a terminal: the claims with their verdicts, the table, what else was found, what failed."""
    parts = [report.title, "", f"hypothesis: {report.hypothesis}", ""]
    parts += [line for claim in report.claims for line in _claim(claim)]
    for sheet in (table_of(report, columns), *report.sheets):
        parts += ["", sheet.title, *_aligned((sheet.head, *sheet.rows))]
    if report.failures:
        parts += ["", *(f"FAILED  {failure.title}: {failure.why}" for failure in report.failures)]
    return "\n".join(parts)


def table_of(report: Report, columns: Sequence[str]) -> Sheet:
    """The measures in `columns`, mean ± standard deviation over seeds, and the time of a run."""
    head = ("", *columns, "steps", "idle", "s a run")
    rows = [
        (
            runs.name,
            *(str(runs.measures.get(name, "–")) for name in columns),
            f"{runs.steps.mean:.0f}",
            f"{runs.idle_steps.mean:.0f}",
            f"{runs.seconds.mean:.0f}",
        )
        for runs in (*report.starts, *report.arms)
        if runs.by_seed
    ]
    return Sheet(f"mean ± standard deviation over {report.seeds} seed{'s' * (report.seeds != 1)}", head, tuple(rows))


def _runs(results: Results, name: str, about: str) -> RunsReport:
    outcomes = results.outcomes.get(name, {})
    names = dict.fromkeys(measure for outcome in outcomes.values() for measure in outcome.measured.values)
    return RunsReport(
        name=name,
        about=about,
        measures={measure: results.spread(name, measure) for measure in names},
        seconds=spread([outcome.seconds for outcome in outcomes.values()]),
        steps=spread([outcome.steps for outcome in outcomes.values()]),
        idle_steps=spread([outcome.idle_steps for outcome in outcomes.values()]),
        by_seed={str(seed): outcome for seed, outcome in outcomes.items()},
    )


def _claim(claim: ClaimReport) -> list[str]:
    return [f"{claim.verdict.upper():<10} {claim.text}", f"{'':<10} {claim.numbers}"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
