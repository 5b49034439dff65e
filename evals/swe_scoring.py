"""From the folder of a run on software-engineering tasks to its report and its predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepgym.codec import encode
from stepgym.errors import StoreError
from stepgym.evals.run_folder import RunFolder
from stepgym.evals.scoring import share
from stepgym.evals.swe_instances import InstanceFolder
from stepgym.evals.swe_judging import NAME
from stepgym.evals.swe_predictions import Prediction, write_predictions
from stepgym.evals.swe_report import SWEReport, result_of
from stepgym.records import Stop, Usage
from stepgym.store import write_whole

if TYPE_CHECKING:
    from stepgym.evals.swe import SWEEval


def write_swe_report(config: SWEEval, folder: RunFolder) -> SWEReport:
    """Add up what the folder holds, store the result beside it, and the patches as ``preds.json``."""
    lines = sorted(folder.read(NAME).values(), key=lambda line: line.trajectory.task.id)
    played = [line.trajectory for line in lines]
    patches = {each.task.id: InstanceFolder(folder.path, each.task.id).patch() for each in played}
    results = tuple(result_of(each, patches[each.task.id]) for each in played)
    graded = [each for each in results if each.resolved is not None]
    strict = [each.strict for each in graded if each.strict is not None]
    report = SWEReport(
        tasks=config.tasks,
        agent=", ".join(sorted({each.agent for each in played})),
        sandbox=config.sandbox,
        task_count=folder.task_count(),
        resolved=sum(bool(each.resolved) for each in graded),
        strict=sum(strict),
        open=len(graded) - len(strict),
        unresolved=sum(not each.resolved for each in graded),
        empty=sum(not each.handed_in for each in graded),
        tampered=sum(each.tampered for each in graded),
        ungraded=sum(each.stop is Stop.UNGRADED for each in played),
        failed=sum(each.stop is Stop.ERROR for each in played),
        missing=folder.task_count() - len(played),
        unusable=kept_unusable(folder),
        resolved_rate=share(sum(bool(each.resolved) for each in graded), len(graded)),
        strict_rate=share(sum(strict), len(strict)),
        usage=sum((each.usage for each in played), Usage()),
        instances=results,
    )
    write_predictions(
        folder.path / "preds.json",
        [
            Prediction(task=each.task.id, model=each.agent, patch=patches[each.task.id] or "")
            for each in played
            if each.stop is not Stop.ERROR
        ],
    )
    write_whole(folder.report, json.dumps(encode(report), indent=2, ensure_ascii=False) + "\n")
    return report


def keep_unusable(folder: RunFolder, why: Sequence[str]) -> None:
    """Write down which rows are no tasks. Raises `StoreError`."""
    write_whole(_unusable_file(folder), json.dumps(why, indent=2) + "\n")


def _unusable_file(folder: RunFolder) -> Path:
    return folder.path / "unusable.json"


def kept_unusable(folder: RunFolder) -> tuple[str, ...]:
    """What `keep_unusable` wrote. Raises `StoreError`."""
    try:
        found = json.loads(_unusable_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise StoreError(f"{_unusable_file(folder)} cannot be read ({error})") from error
    return tuple(map(str, found))
