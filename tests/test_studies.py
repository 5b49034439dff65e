"""Studies: every one in the table runs; claims are decided by numbers; a study survives what its runs go through."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from stepgym.codec import decode, encode
from stepgym.errors import ConfigError, StoreError
from stepgym.records import Task
from stepgym.tasks import load
from stepgym.trainers import ModelConfig
from stepgym.trainers.studies import STUDIES, Arm, Claim, Finding, Problem, Start, Study, Verdict, run_study
from stepgym.trainers.studies.claims import at_least, at_most, both, higher
from stepgym.trainers.studies.guide import compression_and_gain
from stepgym.trainers.studies.job import JOB, OUTCOME, run_job
from stepgym.trainers.studies.material import Mix, material, write_material
from stepgym.trainers.studies.planning import BUDGET, jobs_of, total
from stepgym.trainers.studies.report import Report
from stepgym.trainers.studies.results import Measured, Outcome, Results
from stepgym.trainers.studies.running import results_of
from stepgym.trainers.studies.study import stage

SMALL = ModelConfig(width=16, layers=1, heads=2, context=64)
TINY = Study(
    name="tiny",
    title="Tiny",
    hypothesis="Imitation is quicker than chance.",
    problem=Problem(hard=2, easy=(1,), train=20, curve=5, measured=5, sampled=5, samples=2, start_samples=4),
    starts=(Start(mix=Mix(plain=20, hinted=20), training=stage("sft", "tasks=8", steps=4, model=SMALL)),),
    arms=(
        Arm(name="sft", about="Imitation.", stages=(stage("sft", "tasks=8", steps=6, max_tokens=16),)),
        Arm(
            name="two",
            about="Two stages.",
            stages=(stage("sft", "tasks=8", steps=4, rehearsal=0), stage("grpo", "tasks=2", "group=2", steps=3)),
        ),
    ),
    claims=(Claim("They are the same.", both(at_least("sft", "greedy", 0.0), at_most("two", "greedy", 1.0))),),
)


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "stepgym.cli", "study", *words]


def without_times(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0.0)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(name, "--smoke", "--workers", "1", "--json", "--out", str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    study = STUDIES.load(name).smoke()
    report = decode(Report, json.loads(done.stdout))
    assert json.loads((tmp_path / "study.json").read_text()) == json.loads(done.stdout)
    assert report.study == study.name == name
    assert [arm.name for arm in report.arms] == [arm.name for arm in study.arms]
    assert all(list(runs.by_seed) == ["0"] and runs.measures for runs in (*report.starts, *report.arms))
    assert [claim.text for claim in report.claims] == [claim.text for claim in study.claims]
    assert {claim.verdict for claim in report.claims} == {Verdict.UNDECIDED}, "one seed decides nothing"
    runs = len(study.arms) + len(study.starts)
    assert f"{runs}/{runs} runs" in done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "://" not in page
    links = [unquote(part.partition('"')[0]) for part in page.split('href="')[1:]]
    assert len(links) >= runs
    assert all((tmp_path / link).is_file() for link in links)
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_keeps_its_budget(name: str) -> None:
    study = STUDIES.load(name)
    assert total(study, BUDGET.seeds, BUDGET.cores) <= BUDGET.seconds
    assert total(study.smoke(), 1, 1) < 60


@pytest.mark.parametrize("name", STUDIES)
def test_arms_of_a_study_differ_and_its_claims_name_them(name: str) -> None:
    study = STUDIES.load(name)
    settings = [(encode(arm.stages), arm.start, arm.helped) for arm in study.arms]
    assert all(settings.count(each) == 1 for each in settings)
    empty = Results(study, {run: {} for run in (*(a.name for a in study.arms), *(s.name for s in study.starts))})
    for claim in study.claims:
        assert claim.check(empty).verdict is Verdict.UNDECIDED


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study: run with one seed, and then with two."""
    folder = tmp_path_factory.mktemp("tiny") / "whole"
    assert run_study(TINY, folder, seeds=1, workers=1).failures == ()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob(OUTCOME)}
    assert len(before) == 3
    finished = run_study(TINY, folder, seeds=2, workers=2)
    assert finished.failures == ()
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished runs are not repeated"
    return folder


def test_arms_share_the_warm_start_of_their_seed(tiny: Path) -> None:
    jobs = jobs_of(TINY, range(2), tiny)
    assert [job.name for job in jobs[:2]] == ["start", "start"]
    for job in jobs[2:]:
        assert job.stages[0].start == tiny / f"seed-{job.seed}" / "start" / "1-sft"
    results = results_of(TINY, jobs)
    for seed in range(2):
        curves = {results.outcomes[name][seed].curve[0].reward for name in ("sft", "two")}
        assert len(curves) == 1, "the same model before the first step"
    two = results.outcomes["two"][0]
    assert [point.step for point in two.curve] == [0, 4, 7]
    assert two.steps == 7
    assert json.loads((tiny / "study.json").read_text())["claims"][0]["verdict"] == "held"


LAUNCH = "import sys; sys.path.insert(0, {tests!r}); import test_studies as t; t.launched({folder!r})"
LONG = replace(
    TINY,
    arms=(replace(TINY.arms[0], stages=(stage("sft", "tasks=8", steps=150, evaluate_every=100, max_tokens=16),)),),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of the long arm, run without a stop."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("start.jsonl", "start-rehearsed.jsonl"):
        write_material(folder / name, LONG.starts[0].mix, LONG.problem)
    return [run_job(job) for job in jobs_of(LONG, [0], folder)][-1]


def launched(folder: str) -> None:
    """What the test below starts in a process of its own."""
    run_study(LONG, Path(folder), seeds=1, workers=1)


def workers_of(folder: Path) -> list[int]:
    """Processes that have the log of one of the study's runs open."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "fd" / "1").startswith(str(folder)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_stopped_leaves_no_process_and_goes_on_exactly(
    tmp_path: Path, whole: Outcome, sent: signal.Signals
) -> None:
    folder = tmp_path / "stopped"
    code = LAUNCH.format(tests=str(Path(__file__).parent), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    metrics = folder / "seed-0" / "sft" / "1-sft" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 20):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(workers_of(folder)) == 1
    process.send_signal(sent)
    process.communicate()
    assert process.returncode != 0
    deadline = time.monotonic() + 20
    while workers_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(folder) == []
    assert not list((folder / "seed-0" / "sft").glob(OUTCOME)), "it was stopped too late for this test to mean anything"
    assert run_study(LONG, folder, seeds=1, workers=1).failures == ()
    (stopped,) = (job.outcome for job in jobs_of(LONG, [0], folder) if job.name == "sft")
    assert stopped is not None
    # repr, because NaN is not equal to itself
    assert repr(without_times(stopped)) == repr(without_times(whole))


def test_a_run_that_fails_or_dies_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One arm has a setting that its environment does not take; measuring another kills the process that does it."""
    (tmp_path / "deadly.py").write_text("import os\ndef measure(*_): os.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bad = Arm(name="bad", about="Fails.", stages=(stage("sft", "tasks=8", steps=2, env_settings=("tusks=8",)),))
    deadly = replace(TINY.arms[0], name="deadly", measure="deadly:measure")
    study = replace(TINY, arms=(bad, deadly, TINY.arms[0]))
    finished = run_study(study, tmp_path / "out", seeds=1, workers=1)
    failures = {failure.title: failure.why for failure in finished.failures}
    assert list(failures) == ["bad, seed 0", "deadly, seed 0"]
    assert "has no setting 'tusks'" in failures["bad, seed 0"]
    assert failures["deadly, seed 0"].startswith("its process ended with code -9 (see ")
    assert {arm.name: len(arm.by_seed) for arm in finished.report.arms} == {"bad": 0, "deadly": 0, "sft": 1}
    assert "tusks" in (tmp_path / "out" / "report.html").read_text()


def test_without_its_warm_start_an_arm_does_not_run(tmp_path: Path) -> None:
    training = stage("sft", "tasks=8", steps=2, env_settings=("tusks=8",))
    start = replace(TINY.starts[0], training=training)
    finished = run_study(replace(TINY, starts=(start,)), tmp_path, seeds=1, workers=1)
    assert [failure.title for failure in finished.failures] == ["start, seed 0", "sft, seed 0", "two, seed 0"]
    assert "did not finish" in finished.failures[1].why
    assert not list(tmp_path.rglob(OUTCOME))


def test_a_failure_is_the_exit_code(tmp_path: Path) -> None:
    broken = tmp_path / "seed-0" / "start" / "1-sft"
    broken.mkdir(parents=True)
    (broken / "checkpoint.pt").write_text("no checkpoint")
    words = command("guide", "--smoke", "--workers", "1", "--out", str(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "FAILED  start, seed 0" in done.stdout
    assert "cannot be read as a checkpoint" in done.stdout


def test_bad_input(tmp_path: Path) -> None:
    words = command("guide-rul", "--out", str(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no study named 'guide-rul'; did you mean 'guide-rule'" in done.stderr
    shown = subprocess.run(command("--help"), capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in STUDIES)
    with pytest.raises(ConfigError, match="seeds"):
        run_study(TINY, tmp_path, seeds=0)
    with pytest.raises(ConfigError, match="a warm start that there is"):
        replace(TINY, arms=(replace(TINY.arms[0], start="cold"),))
    with pytest.raises(ConfigError, match="names of their own"):
        replace(TINY, arms=(TINY.arms[0], TINY.arms[0]))


def test_the_folder_of_another_study_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    (folder / "seed-0" / "start").mkdir(parents=True)
    shutil.copy(tiny / "seed-0" / "start" / JOB, folder / "seed-0" / "start" / JOB)
    with pytest.raises(StoreError, match=r"other settings \(.*samples"):
        run_study(replace(TINY, problem=replace(TINY.problem, start_samples=8)), folder, seeds=1)


def results(**values: list[float]) -> Results:
    """The greedy accuracy of each arm by seed."""
    made = {
        name: {
            seed: Outcome(measured=Measured(values={"greedy": v}), curve=(), steps=1, idle_steps=0, seconds=0.0)
            for seed, v in enumerate(of)
        }
        for name, of in values.items()
    }
    return Results(TINY, made)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([0.9, 0.8, 0.7], [0.1, 0.2, 0.6], Verdict.HELD),
        ([0.1, 0.2, 0.6], [0.9, 0.8, 0.7], Verdict.FAILED),
        ([0.50, 0.50], [0.49, 0.49], Verdict.FAILED),  # within the margin
        ([0.9, 0.1, 0.7], [0.1, 0.2, 0.6], Verdict.UNDECIDED),  # seeds disagree
        ([0.9], [0.1], Verdict.UNDECIDED),
        ([0.9, math.nan], [0.1, 0.1], Verdict.UNDECIDED),
        ([0.9, 0.9, 0.9], [0.1, 0.1], Verdict.HELD),  # a run is missing
        ([], [0.1, 0.1], Verdict.UNDECIDED),
    ],
)
def test_a_comparison_is_decided_seed_by_seed(a: list[float], b: list[float], verdict: Verdict) -> None:
    assert higher("a", "b")(results(a=a, b=b)).verdict is verdict


def test_bounds_and_conjunctions() -> None:
    found = results(a=[0.0, 0.01], b=[0.5, 0.9])
    assert at_most("a", "greedy", 0.02)(found) == Finding(
        Verdict.HELD, "greedy of a at most 0.02: 0.005 ± 0.007; in 2 of 2 seeds"
    )
    assert at_least("b", "greedy", 0.6)(found).verdict is Verdict.UNDECIDED
    assert at_least("a", "greedy", 0.6)(found).verdict is Verdict.FAILED
    holds, fails, unclear = at_most("a", "greedy", 1), at_least("a", "greedy", 1), at_least("b", "greedy", 0.6)
    assert both(holds, unclear)(found).verdict is Verdict.UNDECIDED
    assert both(holds, unclear, fails)(found).verdict is Verdict.FAILED
    assert both(holds, holds)(found).verdict is Verdict.HELD


def test_gain_and_compression_add_up() -> None:
    """Four problems: solved 0, 0, 32, 64 times of 64 before, and 4, 0, 4, 2 times of 4 after."""

    def outcome(solved: tuple[int, ...], samples: int) -> Outcome:
        measured = Measured(solved=solved, samples=samples)
        return Outcome(measured=measured, curve=(), steps=1, idle_steps=0, seconds=0.0)

    study = replace(TINY, arms=TINY.arms[:1])
    before, after = outcome((0, 0, 32, 64), 64), outcome((4, 0, 4, 2), 4)
    (sheet,) = compression_and_gain(Results(study, {"start": {0: before}, "sft": {0: after}}))
    # half are unsolved, half of these are solved after; 1 of 4 gained there; (1 - 1/2) + (1/2 - 1) = 0 elsewhere
    assert sheet.rows == (("sft", "0.500", "0.500", "0.250", "0.000"),)
    assert after.measured.pass_at(1) - before.measured.pass_at(1) == pytest.approx(0.25)


def test_material_is_what_the_mix_says_and_survives_the_file(tmp_path: Path) -> None:
    problem = Problem(hard=3, easy=(1, 2))
    mix = Mix(plain=200, worded=10, hinted=30, coarse=20, worked=12, guessed=40, decomposed=6)
    tasks = material(mix, problem)
    kinds = [task.id.partition("-")[0] for task in tasks]
    assert {kind: kinds.count(kind) for kind in kinds} == encode(mix)
    write_material(tmp_path / "mix.jsonl", mix, problem)
    assert load(tmp_path / "mix.jsonl") == tuple(tasks)
    levels = [task.meta["level"] for task in of(tasks, "hinted")]
    assert [levels.count(level) for level in (1, 2, 3)] == [10, 10, 10]
    held = {task.prompt for level in (1, 2, 3) for task in load(problem.source(level, 500, "test", seed=1))}
    assert not held & {task.prompt.partition("\n")[0] for task in tasks}
    plain_hard = [task for task in of(tasks, "plain") + of(tasks, "worded") if task.meta["level"] == 3]
    assert plain_hard == [], "no solution of a hard problem is shown without help"
    wrong = [eval(task.prompt[:-1]) != int(task.answer) for task in of(tasks, "guessed")]
    assert sum(wrong) > 35
    coarse, whole = of(tasks, "decomposed")[:2]
    assert coarse.steps[0].count("<subquestion>") == whole.steps[0].count("<subquestion>") == 3
    assert "=" not in coarse.steps[0]
    assert whole.steps[0].count("=") == 3


def of(tasks: list[Task], kind: str) -> list[Task]:
    return [task for task in tasks if task.id.startswith(f"{kind}-")]
