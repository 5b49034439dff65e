"""The local engine: everything in one process, on a CPU or one GPU.

Each step gathers samples (`Recipe.gather`) and learns from them (`Learner.learn`). All chance is drawn from the seed
and the step's number, never from a stream that runs along: so a run that was killed needs only the weights, the
optimiser and the step to go on exactly as if it had not been.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

import torch

from stepgym.errors import ConfigError
from stepgym.progress import Progress
from stepgym.records import Message, Role, Task
from stepgym.store import JsonLines
from stepgym.tasks import load
from stepgym.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.engine import Training
from stepgym.trainers.learner import Learner
from stepgym.trainers.metrics import HeldOut, StepRecord, read_metrics
from stepgym.trainers.model import Transformer
from stepgym.trainers.playing import Table
from stepgym.trainers.policy import LocalPolicy
from stepgym.trainers.recipe import Group, Recipe
from stepgym.trainers.report import write_report
from stepgym.trainers.samples import Sample, demonstration
from stepgym.trainers.stopping import Stopping
from stepgym.trainers.tokenizer import CharTokenizer
from stepgym.trainers.training_folder import TrainingFolder


class LocalEngine:
    """A run of `recipe`, from its folder's last checkpoint or from the start."""

    def __init__(self, config: TrainConfig, recipe: Recipe) -> None:
        """Loads tasks and model. Nothing is written before `run`."""
        torch.set_num_threads(config.threads)
        self.config, self.recipe = config, recipe
        self.folder = TrainingFolder(config.folder)
        self.tasks, self.held_out = load_all(config.tasks), load_all(config.held_out)
        for task in self.tasks:
            recipe.check(task)
        resumed = self.folder.checkpoint.exists()
        start = load_checkpoint(self.folder.checkpoint, device=config.device) if resumed else first_checkpoint(config)
        self.model, self.tokenizer, self.step = start.model, start.tokenizer, start.step
        self.last = config.steps
        """The step that ends the run: earlier once the target is reached."""
        self.learner = Learner(self.model, recipe, config)
        if start.optimiser is not None:
            self.learner.optimiser.load_state_dict(start.optimiser)
        self.policy = LocalPolicy(self.model, self.tokenizer, name=config.recipe, max_batch=config.max_batch)
        self.table = Table(config, self.policy)

    def run(self) -> Training:
        """Train up to `TrainConfig.steps`. See `stepgym.trainers.engine.train`."""
        config, folder = self.config, self.folder
        folder.claim(config, self.recipe)
        with JsonLines(folder.metrics) as metrics, Stopping() as stopping:
            done = [record for record in read_metrics(folder.metrics) if record.step <= self.step]
            if not done:
                done = [StepRecord(step=0, held_out=self.evaluate())]
                metrics.append(done[0])
            for record in done:
                self._look_for_end(record)
            with Progress(f"train {config.recipe}", self.last, done=self.step) as progress:
                while self.step < self.last:
                    record = self.advance()
                    metrics.append(record)
                    progress.advance(note(record))
                    self._look_for_end(record)
                    if stopping.asked or self._due(config.checkpoint_every):
                        self.save()
                    if stopping.asked and self.step < self.last:
                        raise KeyboardInterrupt
        return self.finish()

    def advance(self) -> StepRecord:
        """Do the next step."""
        self.step += 1
        started = time.perf_counter()
        material = self.recipe.gather(StepSource(self, self.step))
        gathered = time.perf_counter()
        update = self.learner.learn(material.samples, self.step, last=self.last) if material.samples else None
        learned = time.perf_counter()
        return StepRecord(
            step=self.step,
            measures=material.measures,
            update=update,
            gather_seconds=gathered - started,
            learn_seconds=learned - gathered,
            held_out=self.evaluate() if self._due(self.config.evaluate_every) else None,
        )

    def evaluate(self) -> HeldOut:
        """One greedy attempt at each held-out task. The attempts replace those of the evaluation before."""
        groups = self.table.play(self.held_out, 1, seed=f"{self.config.seed}/held out", temperature=0)
        trajectories = [trajectory for group in groups for trajectory in group.trajectories]
        self.folder.write_trajectories(trajectories)
        rewards = [trajectory.reward for trajectory in trajectories if trajectory.graded]
        return HeldOut(
            reward=fmean(rewards) if rewards else math.nan,
            graded=len(rewards),
            ungraded=len(trajectories) - len(rewards),
        )

    def save(self) -> None:
        """Write the checkpoint that the run goes on from."""
        optimiser = self.learner.optimiser.state_dict()
        save_checkpoint(self.folder.checkpoint, Checkpoint(self.model, self.tokenizer, self.step, optimiser))

    def finish(self) -> Training:
        """Draw the curve, write the report."""
        records = read_metrics(self.folder.metrics)
        evaluations = [record.held_out for record in records if record.held_out is not None]
        write_report(self.folder, self.config, self.recipe, records)
        return Training(
            folder=self.folder.path,
            checkpoint=self.folder.checkpoint,
            curve=self.folder.curve,
            report=self.folder.report,
            steps=self.step,
            idle_steps=sum(record.update is None for record in records if record.step > 0),
            before=evaluations[0],
            after=evaluations[-1],
        )

    def _look_for_end(self, record: StepRecord) -> None:
        target, held_out = self.config.target, record.held_out
        if target is not None and held_out is not None and held_out.reward >= target:
            self.last = min(self.last, record.step + self.config.cooldown)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step >= self.last


class StepSource:
    """The `Source` of one step. Its chance depends on the seed, the step, and how often it was asked."""

    def __init__(self, engine: LocalEngine, step: int) -> None:
        self.engine = engine
        self.seed = f"{engine.config.seed}/{step}"
        self.rng = random.Random(f"{self.seed}/draw")
        self.plays = 0
        self.left: list[Task] = []

    def draw(self, count: int) -> list[Task]:
        """All tasks come up once before any comes up again."""
        drawn: list[Task] = []
        while len(drawn) < count:
            if not self.left:
                self.left = self.rng.sample(self.engine.tasks, len(self.engine.tasks))
            drawn.append(self.left.pop())
        return drawn

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        """Episodes with the model as it is."""
        self.plays += 1
        return self.engine.table.play(tasks, copies, seed=f"{self.seed}/play/{self.plays}")

    def demonstrate(self, task: Task) -> Sample:
        """The expert steps as one reply, with its end."""
        context = self.engine.policy.encode([Message(Role.USER, task.prompt)])
        return demonstration(context, [*self.engine.tokenizer.encode("".join(task.steps)), self.engine.tokenizer.end])


def load_all(sources: Sequence[str]) -> list[Task]:
    """The tasks of all sources. Raises `TaskError`, `ConfigError` or `UnknownNameError`."""
    return list(chain.from_iterable(load(source) for source in sources))


def first_checkpoint(config: TrainConfig) -> Checkpoint:
    """The model that a new run starts from."""
    if config.start is not None:
        started = load_checkpoint(config.start, device=config.device)
        return Checkpoint(started.model, started.tokenizer)
    tokenizer = CharTokenizer()
    try:
        device = torch.device(config.device)
        return Checkpoint(Transformer.seeded(len(tokenizer), config.model, config.seed).to(device), tokenizer)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
        raise ConfigError(f"device {config.device!r} cannot be used: {str(error).splitlines()[0]}") from error


def note(record: StepRecord) -> str:
    """What the progress bar says."""
    parts = [f"reward {record.measures['reward']:.3f}"] if "reward" in record.measures else []
    parts.append(f"loss {record.update.loss:.4f}" if record.update else "nothing to learn from")
    return ", ".join(parts)
