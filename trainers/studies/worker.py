"""A process that runs one job of a study after another: folders on stdin, a line about each on stdout.

It loads torch once. When stdin ends, so does it, at once and whatever it is doing: whoever started it is gone, and a
run that was killed goes on exactly when the study is started again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue

from stepgym.errors import StepgymError
from stepgym.trainers.studies.job import LOG, read_job, run_job


def main() -> None:
    """Run the jobs in the folders that are named on stdin."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    asked: SimpleQueue[Path] = SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        folder = asked.get()
        answers.write(json.dumps({"error": run(folder)}) + "\n")
        answers.flush()


def run(folder: Path) -> str:
    """Run one job, all that is printed going to its log. Returns what went wrong, or nothing."""
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        run_job(read_job(folder))
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:  # one run that fails must not take the others with it
        traceback.print_exc()
        return str(error) if isinstance(error, StepgymError) else f"{type(error).__name__}: {error}"
    return ""


def _listen(asked: SimpleQueue[Path]) -> None:
    for line in sys.stdin:
        asked.put(Path(json.loads(line)))
    os._exit(0)


if __name__ == "__main__":
    main()
