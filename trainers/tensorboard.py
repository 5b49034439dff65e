"""A run's metrics as event files for TensorBoard, where it is installed.

``metrics.jsonl`` is what lasts. When a run goes on, it begins another event file, which tells TensorBoard to forget the
ones before and has all steps again: none that a kill made the run repeat is drawn twice, and none is missing that was
never written out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from stepgym.trainers.metrics import StepRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog(Protocol):
    """Takes the records of a run."""

    def append(self, record: StepRecord) -> None:
        """One step more."""


class EventFiles:
    """The event file of a run. Needs ``tensorboard`` (extra ``train``)."""

    def __init__(self, folder: Path, done: Sequence[StepRecord]) -> None:
        """Nothing is written before the first step that follows those that are `done`."""
        self.folder, self.done = folder, done
        self._writer: SummaryWriter | None = None

    def append(self, record: StepRecord) -> None:
        """Every number of the record that is one."""
        if self._writer is None:
            self._writer = self._begin()
        self._write(self._writer, record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def _begin(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard reads the files in the order of their names, which begin with the second they were made in.
        if any(self.folder.glob(f"events.out.tfevents.{int(time.time())}.*")):
            time.sleep(1)
        writer = SummaryWriter(str(self.folder), purge_step=0, flush_secs=10)
        for record in self.done:
            self._write(writer, record)
        return writer

    def _write(self, writer: SummaryWriter, record: StepRecord) -> None:
        for name, value in scalars(record):
            writer.add_scalar(name, value, record.step)


class _Nowhere:
    def append(self, record: StepRecord) -> None:
        pass


def event_log(folder: Path, done: Sequence[StepRecord]) -> AbstractContextManager[EventLog]:
    """`EventFiles` in `folder`; where TensorBoard is not installed, something that takes the records and drops them."""
    return EventFiles(folder, done) if find_spec("tensorboard") else nullcontext(_Nowhere())


def scalars(record: StepRecord) -> Iterator[tuple[str, float]]:
    """The curves of a record: a name with its group, and the value. Numbers that are not finite are left out."""
    values = {f"gathered/{name}": value for name, value in record.measures.items()}
    if record.held_out is not None:
        values |= {"held_out/reward": record.held_out.reward, "held_out/ungraded": record.held_out.ungraded}
    if record.update is not None:
        update = record.update
        values |= {"update/loss": update.loss, "update/gradient": update.gradient, "update/skipped": update.skipped}
        values |= {f"update/{name}": value for name, value in update.measures.items()}
        values["speed/trained_tokens_per_second"] = record.trained_per_second
    if record.sampled_tokens:
        values["speed/sampled_tokens_per_second"] = record.sampled_per_second
    return ((name, value) for name, value in values.items() if math.isfinite(value))
