"""``stepgym study``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from stepgym.codec import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """A study: srl, guide, a2d, or guide-rule. The same command goes on with one that was stopped."""

    name: Positional[str]
    """Which: srl (step rewards against final answers), guide (hints where all fail), a2d (decomposer and reasoner),
    guide-rule (which part of Guide's rule decides whether it starts)."""
    seeds: int = 3
    """Runs of each arm; more can be added later."""
    workers: int | None = None
    """Runs at a time, each a process with one thread; as many as there are cores by default."""
    out: Path | None = None
    """Folder; runs/study-NAME by default."""
    smoke: bool = False
    """A few steps of everything with one seed, to see that it runs: nothing is learned."""
    json: bool = False
    """Print the findings as JSON."""


def study(config: StudyConfig) -> None:
    """Test the claims of a paper in miniature: several arms and seeds, a verdict on each claim, a plot and a page."""
    from stepgym.errors import ConfigError
    from stepgym.trainers.studies import STUDIES
    from stepgym.trainers.studies.planning import total
    from stepgym.trainers.studies.report import format_report
    from stepgym.trainers.studies.running import cores, run_study

    chosen = STUDIES.load(config.name)
    chosen, seeds = (chosen.smoke(), 1) if config.smoke else (chosen, config.seeds)
    folder = config.out or Path("runs") / f"study-{config.name}{'-smoke' if config.smoke else ''}"
    workers = cores() if config.workers is None else config.workers
    if min(seeds, workers) < 1:
        raise ConfigError(f"seeds and workers must be at least 1, not {min(seeds, workers)}")
    expected = total(chosen, seeds, workers)
    print(f"{chosen.title}: about {expected / 60:.0f} min on {workers} cores, in {folder}", file=sys.stderr)
    try:
        finished = run_study(chosen, folder, seeds=seeds, workers=workers)
    except KeyboardInterrupt:
        print("the same command goes on: finished runs are kept", file=sys.stderr)
        raise
    if config.json:
        print(json.dumps(encode(finished.report), indent=2, ensure_ascii=False))
    else:
        print(format_report(finished.report, chosen.columns))
        print("\n" + "\n".join(str(folder / name) for name in ("report.html", "study.png", "study.json")))
    if finished.failures:
        sys.exit(1)
