"""The main job on one CPU, in a few minutes: step, grade, learn, evaluate.

    make demo            or: python examples/demo.py

A transformer with random weights learns column addition, written out digit by digit: first from worked solutions of
short sums, and of longer ones with help in the prompt; then, from that one start, in four ways, longer sums without
help, hardly any of which it can solve: by the answer alone (GRPO), by likeness to an expert's steps (SRL), by hints
(Guide) and by sub-questions (A2D). Everything is kept in ``runs/demo``; run again, it goes on where it was stopped.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import tyro

from stepgym import Attempt, Task
from stepgym.errors import StepgymError
from stepgym.evals.maths import MathEval, evaluate_math
from stepgym.evals.report import format_report
from stepgym.rewards import MathVerifier
from stepgym.tasks import load
from stepgym.tasks.helped import with_hint, with_subquestions
from stepgym.trainers.studies.material import Mix
from stepgym.trainers.studies.report import format_report as format_findings
from stepgym.trainers.studies.running import Finished, run_study
from stepgym.trainers.studies.study import Arm, Start, Study, stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Settings of the demo."""

    out: Path = Path("runs/demo")
    """Where everything is kept."""
    smoke: bool = False
    """A few steps of everything, to see that it works: nothing is learned."""


def main(demo: Demo) -> None:
    """Run all sections."""
    started = time.monotonic()
    step_a_problem()
    grade_answers()
    finished = methods(demo)
    if finished.failures:
        sys.exit(f"demo: {len(finished.failures)} runs failed; run it again to go on")
    solved = {arm.name: value(finished, arm.name) for arm in STUDY.arms}
    best = max(STUDY.arms, key=lambda arm: solved[arm.name])
    evaluated = evaluate(demo, best.name, checkpoint(finished.folder, best))
    heading("Result")
    print("Three-digit sums never seen before, solved: " + ", ".join(f"{n} {v:.0%}" for n, v in solved.items()))
    print(f"The evaluation, on others of them, gives {best.name} {evaluated:.1%}.")
    print(f"Made in {time.monotonic() - started:.0f} s:\n")
    for what, path in (
        ("the four curves", finished.folder / "study.png"),
        ("report", finished.folder / "report.html"),
        ("checkpoint", checkpoint(finished.folder, best)),
        ("evaluation, every attempt", demo.out / "evaluation" / "trajectories.jsonl"),
        ("evaluation, the numbers", demo.out / "evaluation" / "report.json"),
    ):
        print(f"  {what:26} {path}")


def value(finished: Finished, arm: str) -> float:
    """The share of held-out sums that the arm solves."""
    (runs,) = [runs for runs in finished.report.arms if runs.name == arm]
    return runs.measures["greedy"].mean


def checkpoint(folder: Path, arm: Arm) -> Path:
    """Where the arm left its model."""
    return folder / "seed-0" / arm.name / f"1-{arm.stages[0].recipe}" / "checkpoint.pt"


def heading(text: str) -> None:
    """A line that begins a section."""
    print(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n== {text}\n", flush=True)


def step_a_problem() -> None:
    """One worked problem through `gym.make`: an action is a step of the solution."""
    heading("1. A mathematical problem is a Gymnasium environment; an action is one step of the solution")
    problem(load("worked")[0])
    data = Path(os.environ.get("STEPGYM_DATA", "none"))
    if any(data.rglob("aime24*")):
        task = load("aime24")[0]
        print("\nA problem of AIME 2024:\n")
        problem(Task(id=task.id, prompt=task.prompt, answer=task.answer, steps=(f"\\boxed{{{task.answer}}}",)))


def problem(task: Task) -> None:
    """Step through the solution that the task carries."""
    env = gym.make("stepgym/Math-v0", tasks=(task,), instructions="")
    observation, _ = env.reset(seed=0)
    print(f"    {observation}")
    for step in task.steps:
        _, reward, terminated, truncated, info = env.step(step)
        print(f"  > {step}\n    reward {reward}, {info['score'].why or 'not answered yet'}")
        if terminated or truncated:
            break
    env.close()


def grade_answers() -> None:
    """The verifier: equal forms are equal, a list of guesses is not an answer."""
    heading("2. Answers are graded by what they mean")
    verifier = MathVerifier()
    for gold, text in (
        (r"\frac{1}{2}", r"so the probability is \boxed{0.5}"),
        (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
        (r"(-\infty, 2]", r"\boxed{x \le 2}"),
        ("12559", r"\boxed{12,559}"),
        ("12559", r"\boxed{12558}"),
        ("3", r"it is \boxed{2} or \boxed{3}"),
        ("3", "I believe that it is three or so"),
    ):
        score = verifier(Attempt(task=Task(id="", prompt="", answer=gold), text=text))
        print(f"  {gold:16} {text:38} {score.status:11} {score.why}")


def methods(demo: Demo) -> Finished:
    """Four ways to learn from one warm start, two at a time, and their four curves."""
    heading("3. Three-digit sums, hopeless for the answer alone: GRPO, SRL, Guide and A2D from one warm start")
    easy, hard = load("addition?level=2&count=1")[0], load("addition?level=3&count=1")[0]
    print("  The warm start has imitated sums of one and two digits, and longer ones with help in the prompt:\n")
    for task in (easy, with_hint(hard), with_subquestions(hard)):
        print(f"    {task.prompt!r} → {''.join(task.steps)!r}")
    print(
        "\n  and a few with three digits and no help whose digits are guessed: it knows their form, and nothing more."
    )
    print("  Alone it solves hardly any three-digit sum, so GRPO has next to nothing to reinforce.\n", flush=True)
    finished = run_study(STUDY.smoke() if demo.smoke else STUDY, demo.out / "methods", seeds=1)
    print("\n" + format_findings(finished.report, STUDY.columns))
    return finished


RATE = ("group=8", "learning_rate=1e-3")
STUDY = Study(
    name="demo",
    title="Three-digit sums, from a start that solves hardly any",
    hypothesis="Where no attempt succeeds, GRPO learns nothing; rewards for steps, hints and sub-questions help.",
    starts=(
        Start(
            mix=Mix(plain=1500, guessed=200, hinted=1000, coarse=1000),
            training=stage("sft", steps=600, warmup=50, cooldown=150, evaluate_every=100),
        ),
    ),
    arms=(
        Arm(
            name="grpo",
            about="GRPO on the final answer.",
            stages=(stage("grpo", *RATE, "tasks=8", steps=120),),
        ),
        Arm(
            name="srl",
            about="SRL: each step rewarded by its likeness to the expert's.",
            stages=(
                stage(
                    *("srl", *RATE, "tasks=32", "epochs=2", "last=true"),
                    steps=150,
                    stop=(";",),
                    env_settings=("think=false", "instructions="),
                ),
            ),
        ),
        Arm(
            name="guide",
            about="Guide-GRPO: a hint where all attempts failed; learned without it.",
            stages=(stage("guide-grpo", *RATE, "tasks=8", "pool=true", "mixed=false", "correction=none", steps=120),),
        ),
        Arm(
            name="a2d",
            about="A2D's reasoner: sub-questions where attempts fail; the successes imitated without them.",
            stages=(stage("a2d-reasoner", *RATE, "tasks=8", "alpha=0.5", "diversity={prompt}", steps=120),),
        ),
    ),
    claims=(),
    columns=("greedy", "average", "pass@16", "kept"),
)
"""The settings are those at which the methods start on this problem; `stepgym study` looks at what decides that."""


def evaluate(demo: Demo, what: str, checkpoint: Path) -> float:
    """The accuracy on held-out sums, with the evaluation that works for any policy and benchmark."""
    heading(f"Evaluation of {what} (the same as: stepgym eval math --policy local --model CHECKPOINT)")
    report = evaluate_math(
        MathEval(
            policy="local",
            model=str(checkpoint),
            tasks=f"addition?level=3&count={20 if demo.smoke else 300}&split=test&seed=2",
            prompt="plain",
            max_tokens=64,
            concurrency=256,
            out=demo.out / "evaluation",
        )
    )
    print("\n".join(f"  {line}" for line in format_report(report).splitlines()))
    return report.average.value if report.average is not None else math.nan


if __name__ == "__main__":
    try:
        main(tyro.cli(Demo))
    except StepgymError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; run it again to go on")
