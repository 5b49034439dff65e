"""Event files for TensorBoard, and what reports and progress say of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stepgym.trainers.curve import draw_measures, measured
from stepgym.trainers.idleness import why_idle
from stepgym.trainers.learner import Update
from stepgym.trainers.local import note
from stepgym.trainers.metrics import HeldOut, StepRecord
from stepgym.trainers.tensorboard import EventFiles, event_log


def record(step: int, reward: float = 0.5, *, held_out: float | None = None) -> StepRecord:
    update = Update(loss=0.1 * step, gradient=1.0, updates=2, skipped=0, tokens=30, passes=2, measures={"kl": 0.01})
    return StepRecord(
        step=step,
        measures={"reward": reward, "groups": 4},
        update=update,
        sampled_tokens=100,
        gather_seconds=0.5,
        learn_seconds=0.25,
        held_out=HeldOut(reward=held_out, graded=2, ungraded=0) if held_out is not None else None,
    )


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """As TensorBoard shows them, in the order in which they stand in the files."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)] for tag in tags}


def test_every_number_of_a_step_is_a_curve(tmp_path: Path) -> None:
    first = StepRecord(step=0, held_out=HeldOut(reward=0.25, graded=2, ungraded=1))
    with event_log(tmp_path, [first]) as events:
        events.append(record(1))
        events.append(record(2, math.nan, held_out=0.75))
    shown = curves(tmp_path)
    assert shown["held_out/reward"] == [(0, 0.25), (2, 0.75)]
    assert shown["held_out/ungraded"] == [(0, 1), (2, 0)]
    assert shown["gathered/reward"] == [(1, 0.5)]  # NaN is no point
    assert shown["update/loss"] == [(1, 0.1), (2, 0.2)]
    assert shown["update/kl"] == [(1, 0.01), (2, 0.01)]
    assert shown["speed/sampled_tokens_per_second"] == [(1, 200), (2, 200)]
    assert shown["speed/trained_tokens_per_second"] == [(1, 240), (2, 240)]


def test_steps_that_are_repeated_stand_once(tmp_path: Path) -> None:
    killed = EventFiles(tmp_path, [])
    for step in (1, 2, 3, 4):
        killed.append(record(step, 0.1 * step))
    killed.__exit__(None, None, None)
    watching = EventAccumulator(str(tmp_path))
    watching.Reload()
    with EventFiles(tmp_path, [record(1, 0.1), record(2, 0.2)]) as events:  # the last checkpoint was at step 2
        for step in (3, 4, 5):
            events.append(record(step, 0.1 * step))
    points = [(step, pytest.approx(0.1 * step)) for step in (1, 2, 3, 4, 5)]
    assert curves(tmp_path)["gathered/reward"] == points
    watching.Reload()
    assert [(event.step, event.value) for event in watching.Scalars("gathered/reward")] == points


def test_a_run_that_is_over_writes_nothing_more(tmp_path: Path) -> None:
    with event_log(tmp_path / "none", [record(1)]):
        pass
    assert not (tmp_path / "none").exists()


def test_progress_says_how_fast_it_goes() -> None:
    assert note(record(1)) == "reward 0.500, loss 0.1000, 200 tokens/s sampled, 240 trained"
    assert note(StepRecord(step=1)) == "nothing to learn from"


def test_a_recipe_s_own_measures_are_drawn() -> None:
    records = [StepRecord(step=0), record(1, 0.1), record(2, math.nan), record(3, 0.3)]
    found = measured(records)
    assert found["reward"] == {1: 0.1, 3: 0.3}
    assert found["groups"] == {1: 4, 2: 4, 3: 4}
    assert found["sampled tokens/s"] == {1: 200, 2: 200, 3: 200}
    assert draw_measures(records).startswith(b"\x89PNG")
    assert draw_measures([StepRecord(step=0)]) == b""


def idle(**measures: float) -> StepRecord:
    return StepRecord(step=1, measures=measures)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([record(1)], ""),
        ([idle()], "the recipe gathered no samples"),
        ([idle(groups=4, ungraded=32, reward=math.nan)], "none of 32 attempts could be graded"),
        ([idle(groups=4, reward=0.0), idle(groups=4, reward=0.0)], "in all of 8 groups .* equal.* (mean reward 0)"),
        ([idle(groups=4, reward=0.0), idle(groups=4, reward=1.0, ungraded=2)], "0 to 1.*2 attempts could not be"),
        ([idle(groups=4, reward=0.0, guided_ungraded=8.0)], "mean reward 0.*8 attempts could not be"),
    ],
)
def test_idle_steps_are_explained(records: list[StepRecord], why: str) -> None:
    import re

    assert re.search(why.replace("(", r"\(").replace(")", r"\)"), why_idle(records)) if why else why_idle(records) == ""
