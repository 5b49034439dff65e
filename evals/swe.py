"""`stepgym eval swe`: how many software-engineering tasks an agent resolves, by the official verdict and a strict one.

Agents play ``stepgym/SWE-v0``; patches that were made elsewhere are judged as they are. The folder of a run is that of
every evaluation, and has beside it what `swe_instances` keeps of each task, and ``preds.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stepgym.agents import POLICIES
from stepgym.agents.bash import BashAgent, Dialect
from stepgym.agents.making import PolicyConfig, make_policy
from stepgym.agents.policy import Agent, Sampling
from stepgym.agents.running import run_to_end
from stepgym.agents.swe_scripted import GoldAgent, NoOpAgent, ReplayAgent
from stepgym.errors import ConfigError, SandboxError
from stepgym.evals.playing import plan, play_missing
from stepgym.evals.rescoring import grade_again, graded_again, stored_config
from stepgym.evals.run_folder import RunFolder, default_folder
from stepgym.evals.swe_instances import InstanceFolder
from stepgym.evals.swe_judging import NAME, JudgedAgain, KeptTests
from stepgym.evals.swe_predictions import Predictions, read_predictions
from stepgym.evals.swe_report import Counts, SWEReport
from stepgym.evals.swe_scoring import keep_unusable, write_swe_report
from stepgym.evals.swe_selection import select
from stepgym.records import Task
from stepgym.sandboxes import SandboxPool, make
from stepgym.sandboxes.contract import make_spec
from stepgym.store import JsonLines
from stepgym.trajectories import StoredTrajectory

if TYPE_CHECKING:
    import gymnasium

T = TypeVar("T", bound=KeptTests)

CLOSE_SECONDS = 10.0
"""How long the end of a run waits for sandboxes to be gone; what is left then goes with the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SWEEval(PolicyConfig):
    """Settings of an evaluation on software-engineering tasks."""

    tasks: str = "swe-small"
    """A task set's name, a file of rows or tasks, or a task repository; see `stepgym tasks list`."""
    limit: int | None = None
    """Only the first so many tasks."""
    ids: tuple[str, ...] = ()
    """Only these tasks."""
    agent: Literal["bash", "gold", "noop", "replay"] = "bash"
    """bash (the policy at a shell), gold (the gold patch), noop (nothing) or replay (recorded runs)."""
    runs: str | None = None
    """Recorded runs for replay: a .traj file or a folder of them. If not given, the tasks hold their own steps."""
    predictions: Path | None = None
    """Judge the patches in this .json or .jsonl file (instance_id, model_name_or_path, model_patch); no agent plays."""
    dialect: Dialect = Dialect.TEXT
    """How the bash agent's policy acts: text (a block of bash) or tools (a call as JSON)."""
    steps: int = 100
    """Most turns of the agent; then what is there is handed in. So it is with the budgets that follow."""
    tokens: int | None = None
    """Most tokens of an episode, read and written in all its turns together."""
    dollars: float | None = None
    """Most that an episode may cost."""
    seconds: float = 3600.0
    """Most seconds of an episode."""
    command_seconds: float = 60.0
    """What one command may take."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that make up this much probability."""
    max_tokens: int = 4096
    """Most tokens of one reply."""
    seed: int = 0
    """Of the sampling."""
    sandbox: str = "namespace"
    """Where commands and tests run: namespace, docker, ray, or ray:docker (on its nodes)."""
    image: str = ""
    """What sandboxes are made of for tasks that bring their repository and no image: for docker the name of an image
    with Python and git, such as python:3.12. The back end's own if not given."""
    memory_gb: float = 4.0
    """Memory of a sandbox."""
    test_seconds: float | None = None
    """Most seconds that the hidden tests of a task may take; its own limit holds where it is less."""
    workers: int = 4
    """Tasks under way at a time."""
    keep_images: int | None = None
    """Most images that are kept of those that the run pulls; None keeps them all while there is room on the disk."""
    free_gb: float = 10.0
    """Room on the container engine's disk below which images are removed before one is pulled."""
    patience: int = 10
    """Stop when the policy has failed in so many episodes in a row."""
    out: Path | None = None
    """Folder of the run; the same command with the same folder goes on where it stopped. Default: under runs/."""
    rescore: bool = False
    """Judge the stored logs of the folder again; only what has none runs its tests."""
    json: bool = False
    """Print the report as JSON."""


def evaluate_swe(config: SWEEval, *, make_agent: Callable[[], Agent] | None = None) -> SWEReport:
    """Play what is missing, write ``report.json`` and ``preds.json``, and return the report.

    Safe to kill at any moment: the same call goes on with nothing lost and nothing done twice. `make_agent` makes an
    agent of your own for each episode; the settings of agent and policy then only describe it. Raises what tasks,
    policy and folder raise. What breaks for one task is in the report, and the others go on.
    """
    _check(config)
    if make_agent is None and config.agent == "bash" and config.predictions is None:
        POLICIES.load(config.policy)  # an unknown name is found before a folder is made
    predictions = read_predictions(config.predictions) if config.predictions else None
    chosen = select(config, predictions)
    folder = swe_folder(config)
    with JsonLines(folder.trajectories) as file:
        folder.claim(config, chosen.tasks, **({"predictions_digest": predictions.digest} if predictions else {}))
        keep_unusable(folder, chosen.unusable)
        with hidden_tests(config, folder, KeptTests) as tests:
            run_to_end(_play(config, chosen.tasks, predictions, folder, file, tests, make_agent))
    return write_swe_report(config, folder)


def rescore_swe(path: Path, *, workers: int = 4) -> SWEReport:
    """Judge the run in `path` again by the logs that it kept, in so many threads.

    Where the tests have left no log, since something of ours broke, they run again; an episode that failed has nothing
    to judge, and stays. Raises `StoreError` and, for the run of another command, `ConfigError`.
    """
    folder = RunFolder(path)
    stored = stored_config(folder, SWEEval)
    with hidden_tests(replace(stored, workers=workers), folder, JudgedAgain) as tests:
        grade_again(folder, partial(_judged_again, tests), title="judging again", workers=workers)
    return write_swe_report(stored, folder)


def swe_folder(config: SWEEval) -> RunFolder:
    """Where the run is kept: as asked, or named after the tasks and who plays them."""
    who = config.predictions.stem if config.predictions else config.model or config.agent
    return RunFolder(config.out or default_folder("swe", config.tasks, who))


@contextmanager
def hidden_tests(config: SWEEval, folder: RunFolder, kind: type[T]) -> Iterator[T]:
    """The tests of a run, in sandboxes of a pool of its own, which ends with it."""
    spec = make_spec(image=config.image, memory=int(config.memory_gb * 2**30))
    with ExitStack() as stack:
        backend: Any = partial(make, config.sandbox)
        if config.sandbox == "docker":
            from stepgym.sandboxes.containers.images import Images

            ledger = folder.path / "images.txt"
            images = Images(keep=config.keep_images, free_bytes=int(config.free_gb * 2**30), ledger=ledger)
            backend = stack.enter_context(images).make
        pool = SandboxPool(backend, live=2 * config.workers)  # one that ends does not hold up one that begins
        stack.callback(_close, pool)
        yield kind(pool, value="resolved", spec=spec, timeout=config.test_seconds, folder=folder.path)


async def _play(
    config: SWEEval,
    tasks: tuple[Task, ...],
    predictions: Predictions | None,
    folder: RunFolder,
    file: JsonLines,
    tests: KeptTests,
    make_agent: Callable[[], Agent] | None,
) -> None:
    from stepgym.evals.swe_playing import EvaluatedEnv, PredictionAgent, PredictionEnv

    turns = max(config.steps, *(len(task.steps) for task in tasks)) + 1
    make_env: Callable[[], gymnasium.Env[str, str]] = partial(
        EvaluatedEnv, tasks, tests, max_steps=turns, max_seconds=config.seconds, command_seconds=config.command_seconds
    )
    policy = None
    if predictions is not None:
        make_env = partial(PredictionEnv, tasks, tests)
        make_agent = make_agent or partial(PredictionAgent, predictions.by_task)
    elif make_agent is None and config.agent == "bash":
        policy = make_policy(config, tasks=tasks)
        make_agent = partial(BashAgent, policy, sampling=_sampling(config), dialect=config.dialect, **_budgets(config))
    elif make_agent is None:
        kinds: dict[str, Callable[[], Agent]] = {
            "gold": partial(GoldAgent, tasks),
            "noop": NoOpAgent,
            "replay": partial(ReplayAgent, tasks),
        }
        make_agent = kinds[config.agent]
    try:
        await play_missing(
            folder,
            file,
            list(plan(tasks, samples=1, seed=config.seed)),
            make_env=make_env,
            make_agent=make_agent,
            grader=NAME,
            concurrency=config.workers,
            patience=config.patience,
            title=f"eval {config.tasks}",
            note=Counts.of(line.trajectory for line in folder.read(NAME).values()),
            release=partial(_close, tests.sandbox),
        )
    finally:
        if policy is not None:
            await policy.close()


def _judged_again(tests: JudgedAgain, line: StoredTrajectory) -> StoredTrajectory:
    if InstanceFolder(tests.folder, line.trajectory.task.id).patch() is None:
        return line  # it came to no submission
    return graded_again(line, tests, NAME)


def _budgets(config: SWEEval) -> dict[str, Any]:
    named = {"steps": config.steps, "tokens": config.tokens, "dollars": config.dollars, "seconds": config.seconds}
    return {name: budget for name, budget in named.items() if budget is not None}


def _sampling(config: SWEEval) -> Sampling:
    return Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)


def _check(config: SWEEval) -> None:
    """Whatever can be found before a folder is made."""
    _sampling(config)
    for name in ("steps", "workers", "patience", "memory_gb", "seconds", "command_seconds"):
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name} must be positive, got {getattr(config, name)}")
    make(config.sandbox, image=config.image)


def _close(pool: Any) -> None:
    """End the sandboxes of a run; what cannot be ended in time is ended with the process, or by `sandboxes prune`."""
    with suppress(SandboxError):
        pool.close(timeout=CLOSE_SECONDS)
