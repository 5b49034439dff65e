"""What a run keeps of each software-engineering task: the patch, the test logs, the verdicts.

``instances/ID/`` in the folder of a run holds ``patch.diff`` (what the agent handed in), ``test_output.txt`` (the log),
``official_output.txt`` (the log of the patch as it was, where something had been taken out of it), ``report.json`` (the
official harness's, with the strict verdict beside), and ``judgement.json``, written last, from which all can be judged
again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.codec import decode, encode
from stepgym.errors import ConfigError, StoreError
from stepgym.records import Status
from stepgym.rewards.swe.hidden_tests import Judgement
from stepgym.store import write_whole

_NAME = re.compile(r"[A-Za-z0-9_][\w.+@-]{0,199}", re.ASCII)
_LOG, _OFFICIAL_LOG, _PATCH, _JUDGEMENT = "test_output.txt", "official_output.txt", "patch.diff", "judgement.json"


class InstanceFolder:
    """The folder of one task within that of a run."""

    def __init__(self, run: Path, task: str) -> None:
        self.task = task
        self.path = run / "instances" / _folder_name(task)

    def forget(self) -> None:
        """Remove what an earlier try has left."""
        for name in (_JUDGEMENT, _PATCH, _LOG, _OFFICIAL_LOG, "report.json"):
            (self.path / name).unlink(missing_ok=True)

    def keep_patch(self, patch: str) -> None:
        """Write down what was handed in, before it is judged. Raises `StoreError`."""
        write_whole(self.path / _PATCH, patch.encode("utf-8", "replace").decode())  # half a character cannot be written

    def patch(self) -> str | None:
        """What was handed in; None where nothing was."""
        return self._read(_PATCH)

    def keep(self, judged: Judgement) -> None:
        """Write down all that is known of an attempt. Raises `StoreError`."""
        for name, log in ((_LOG, judged.log), (_OFFICIAL_LOG, judged.official_log)):
            if log:
                write_whole(self.path / name, log)
            else:
                (self.path / name).unlink(missing_ok=True)
        write_whole(self.path / "report.json", json.dumps(report_of(judged), indent=2) + "\n")
        bare = encode(replace(judged, log="", official_log=""))
        write_whole(self.path / _JUDGEMENT, json.dumps(bare) + "\n")

    def judgement(self) -> Judgement | None:
        """What `keep` wrote; None where there is nothing. Raises `StoreError` where it is damaged."""
        text = self._read(_JUDGEMENT)
        if text is None:
            return None
        try:
            judged = decode(Judgement, json.loads(text), where="judgement")
        except (ValueError, ConfigError) as error:
            raise StoreError(f"{self.path / _JUDGEMENT}: {error}") from error
        return replace(judged, log=self._read(_LOG) or "", official_log=self._read(_OFFICIAL_LOG) or "")

    def shown(self) -> dict[str, str]:
        """What a person wants to see, by its title: the patch, and the verdict with every test."""
        found = {"Patch": self.patch(), "Verdict": self._read("report.json")}
        return {title: text for title, text in found.items() if text}

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_bytes().decode("utf-8", "replace")  # with the ends of lines as they are
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path / name} cannot be read ({error.strerror})") from error


def report_of(judged: Judgement) -> dict[str, Any]:
    """``report.json`` as swebench 5.0.2 writes it, and in it the strict verdict and what decided."""
    report = (judged.official or judged.verdict).to_json()
    for entry in report.values():
        entry |= {
            "infra_failure": entry["infra_failure"] or judged.status is not Status.GRADED,
            "strict": judged.verdict.strict,
            "tampered": list(judged.verdict.tampered),
            "removed": list(judged.removed),
            "why": judged.why,
            "seconds": round(judged.seconds, 3),
        }
    return report


def _folder_name(task: str) -> str:
    """The id where that is a good name for a folder, else one made of it."""
    if _NAME.fullmatch(task):
        return task
    digest = hashlib.sha256(task.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', task)[:80]}-{digest}".lstrip("-")
