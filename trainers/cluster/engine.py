"""The cluster engine as `stepgym train` sees it: a process of OpenRLHF, watched over until its run is done.

What runs in that process is `stepgym.trainers.cluster.launch`. It is started in a session of its own, so that all
processes of a Ray that it started can be found and ended, and it goes on by itself from its last checkpoint: whatever
breaks, the remedy is to start it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from stepgym.errors import TrainingError
from stepgym.progress import Progress
from stepgym.store import writing
from stepgym.trainers.checkpoint import LINK
from stepgym.trainers.cluster.checkpoints import mend
from stepgym.trainers.cluster.failure import Failure, read_failure
from stepgym.trainers.cluster.following import Following
from stepgym.trainers.cluster.order import Order
from stepgym.trainers.cluster.preflight.checks import check
from stepgym.trainers.cluster.scratch import Scratch
from stepgym.trainers.cluster.session import end_session
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.engine import Training
from stepgym.trainers.metrics import note
from stepgym.trainers.outcome import outcome
from stepgym.trainers.recipe import CriticRecipe, Recipe
from stepgym.trainers.training_folder import TrainingFolder

EVERY = 0.5
"""Seconds between looks at the process and what it has done."""
FUTILE = 2
"""Starts in a row that gained no checkpoint, after which there is none any more."""


class ClusterEngine:
    """A run of `recipe` in its folder."""

    def __init__(self, config: TrainConfig, recipe: Recipe) -> None:
        self.config, self.recipe = config, recipe
        self.folder = TrainingFolder(config.folder)
        self.order = self.folder.cluster / "order.json"

    def run(self) -> Training:
        """See `stepgym.trainers.engine.train`. Raises `TrainingError` with the cause once restarts are of no use."""
        if (self.folder.path / LINK).exists():
            self.folder.claim(self.config, self.recipe)
            return outcome(self.config, self.recipe)
        checked = check(self.config, self.recipe)
        self.folder.claim(self.config, self.recipe)
        order = Order(
            config=replace(self.config, out=self.folder.path.absolute()),
            model=_anywhere(checked.model),
            solver=_anywhere(checked.solver),
            context=checked.context,
            tasks=checked.tasks,
        )
        order.write(self.order)
        self._until_done()
        self._keep_model()
        return outcome(self.config, self.recipe)

    def _until_done(self) -> None:
        title, following = f"train {self.config.recipe}", Following(self.folder.metrics)
        sys.stderr.write(f"{title}: starting Ray, vLLM and DeepSpeed; what they say is in {self.folder.log}\n")
        with Progress(title, self.config.steps) as progress:
            futile = 0
            for restart in range(self.config.cluster.restarts + 1):
                mend(self.folder.cluster_checkpoints, critic=isinstance(self.recipe, CriticRecipe))
                before = self._saved()
                failure = self._once(following, progress)
                if failure is None:
                    return
                futile = 0 if self._saved() != before else futile + 1
                if failure.final or futile >= FUTILE or restart == self.config.cluster.restarts:
                    raise TrainingError(f"{failure.cause}; what led to it is in {self.folder.log}")
                sys.stderr.write(f"{title}: {failure.cause}; going on from the last checkpoint\n")

    def _once(self, following: Following, progress: Progress) -> Failure | None:
        """One process, to its end; None if it did its work."""
        python = str(self.config.cluster.python or sys.executable)
        with self.folder.log.open("ab") as log, Scratch() as scratch:
            command = [python, "-P", "-m", "stepgym.trainers.cluster.launch", str(self.order), str(scratch.path)]
            start = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ({} if self.config.cluster.address else scratch.variables),
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    time.sleep(EVERY)
                    _show(following, progress)
            finally:
                end_session(process)
            _show(following, progress)
            if process.returncode == 0:
                return None
            scratch.keep_logs(self.folder.ray_logs)
            return read_failure(self.folder.log, start, process.returncode)

    def _saved(self) -> str:
        """Names the last checkpoint; empty if there is none."""
        try:
            return (self.folder.cluster_checkpoints / "_actor" / "latest").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _keep_model(self) -> None:
        """Put the model that OpenRLHF saved where every run has its own.

        What only going on needed is deleted; DeepSpeed's checkpoint of the best evaluation stays.
        """
        (*_, last) = Following(self.folder.metrics).records()
        kept = self.folder.path / f"{LINK}-{last.step}"
        with writing(kept):
            shutil.rmtree(kept, ignore_errors=True)
            self.folder.cluster_model.rename(kept)
            link = self.folder.path / f".{LINK}.link"
            link.unlink(missing_ok=True)
            link.symlink_to(kept.name)
            link.replace(self.folder.path / LINK)
            self.order.unlink()
            for part in ("_actor", "_critic"):
                for state in (self.folder.cluster_checkpoints / part).glob("global_step*"):
                    shutil.rmtree(state)


def _anywhere(place: str) -> str:
    """A folder's whole path, for processes that stand elsewhere; a name on the hub as it is."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place


def _show(following: Following, progress: Progress) -> None:
    for record in following.records():
        if record.step > progress.done:  # those done again after a restart are not
            progress.advance(note(record), record.step - progress.done)
