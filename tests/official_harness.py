"""The official harness, ``swebench eval``, on images made here, and patches for it to judge: the oracle of verdicts.

An image is that of `docker_engine` with Python, git and patch, in which a task's repository lies at its place and its
packages at `ENVIRONMENT`. It stops by SIGKILL, as the harness's first process heeds nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgym.evals.swe_making_commands import FromPypiConfig, from_pypi
from stepgym.evals.swe_predictions import Prediction, write_predictions
from stepgym.records import Task
from stepgym.rewards.swe.repository import checkout
from stepgym.tasks import load
from stepgym.tasks.swe import ENVIRONMENT, instance_of
from stepgym.tasks.swe_python import environment
from tests.docker_engine import base_image

if TYPE_CHECKING:
    from docker import APIClient

PACKAGES = ("git", "patch", "python3")
BASE = "stepgym-tests/swe:base"
SECONDS = 600
"""What the harness may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One patch to be judged."""

    id: str
    """Of an instance that is this patch's alone, since a run judges one patch for each."""
    task: Task
    image: str
    patch: str

    def row(self) -> dict[str, Any]:
        """The instance, as swebench 5 has it."""
        instance = instance_of(self.task)
        return {
            "instance_id": self.id,
            "repo": f"tests/{instance.repo.replace('/', '-')}",
            "version": instance.version or "1",
            "base_commit": instance.base_commit,
            "image": self.image,
            "patch": self.task.answer,
            "test_patch": instance.test_patch,
            "problem_statement": self.task.prompt,
            "hints_text": "",
            "eval_script": instance.eval_script,
            "log_parser": instance.log_parser,
            "eval_type": instance.eval_type,
            "FAIL_TO_PASS": list(instance.fail_to_pass),
            "PASS_TO_PASS": list(instance.pass_to_pass),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialRun:
    """What came of a run of ``swebench eval``."""

    reports: Mapping[str, dict[str, Any]]
    """``report.json`` of each instance that has one."""
    logs: Mapping[str, str]
    """Of the tests."""
    summary: Mapping[str, Any]
    """The report of the whole run."""
    seconds: float
    """From the start of the command to its end."""


def write_run(folder: Path, subjects: list[Subject]) -> tuple[Path, Path]:
    """The files of rows and of predictions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, predictions = folder / "rows.json", folder / "preds.json"
    rows.write_text(json.dumps([subject.row() for subject in subjects]))
    write_predictions(predictions, [Prediction(task=each.id, model="m", patch=each.patch) for each in subjects])
    return rows, predictions


def release(out: Path, name: str, old: str, new: str) -> Task:
    """The task of two releases, added to the file `out`; made once, and kept in the cache of tests."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(Path.home() / ".cache" / "stepgym-tests")
    try:
        from_pypi(FromPypiConfig(name=name, old=old, new=new, out=out, repeats=2))
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
    return next(task for task in load(str(out)) if task.id == f"{name}__{old}-{new}")


def evaluate(python: Path, host: str, folder: Path, subjects: list[Subject], *, workers: int = 2) -> OfficialRun:
    """Have patches judged by the swebench that `python` has, with the engine at `host`; its files are in `folder`."""
    rows, predictions = write_run(folder, subjects)
    words = ["eval", str(rows), "-p", str(predictions), "--run-id", "run", "-j", str(workers), "--report-dir", "."]
    begun = time.perf_counter()
    done = subprocess.run(
        [str(python), "-c", "from swebench.cli.cli import main; main()", *words],
        cwd=folder,
        env={**os.environ, "DOCKER_HOST": host, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    seconds = time.perf_counter() - begun
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    reports, logs = {}, {}
    for subject in subjects:
        kept = folder / "logs" / "run_evaluation" / "run" / "m" / subject.id
        if (kept / "report.json").exists():
            reports[subject.id] = json.loads((kept / "report.json").read_text())[subject.id]
        if (kept / "test_output.txt").exists():
            logs[subject.id] = (kept / "test_output.txt").read_text()
    summary = json.loads((folder / "m.run.json").read_text())
    return OfficialRun(reports=reports, logs=logs, summary=summary, seconds=seconds)


@contextlib.contextmanager
def images(host: str, tasks: list[Task], *, stop_signal: str = "SIGKILL") -> Iterator[dict[str, str]]:
    """The image of each task, by its id; they are gone afterwards."""
    from docker import APIClient
    from docker.errors import APIError

    base = base_image(*PACKAGES)
    made: list[str] = []
    with contextlib.closing(APIClient(host, version="1.41", timeout=300)) as api:
        try:
            repository, tag = BASE.split(":")
            api.import_image_from_file(str(base), repository=repository, tag=tag)
            made.append(BASE)
            version = _python_of(base)
            found = {}
            for task in tasks:
                name = f"stepgym-tests/{task.id.replace('__', '_1776_')}:latest".lower()
                _image(api, task, name, version, stop_signal)
                found[task.id] = name
                made.append(name)
            yield found
        finally:
            for name in reversed(made):
                with contextlib.suppress(APIError):
                    api.remove_image(name, force=True)


def _image(api: APIClient, task: Task, name: str, python: str, stop_signal: str) -> None:
    """Put the repository and the packages of a task into an image."""
    instance = instance_of(task)
    container = api.create_container(BASE, command="true", stop_signal=stop_signal)["Id"]
    try:
        api.put_archive(container, "/", _packed(checkout(instance.source), instance.workdir))
        if instance.requirements:
            packages = next((environment(instance.requirements) / "lib").glob("python3*/site-packages"))
            api.put_archive(container, "/", _packed(packages, f"{ENVIRONMENT}/lib/{python}/site-packages", python))
        repository, tag = name.split(":")
        api.commit(container, repository=repository, tag=tag)
    finally:
        api.remove_container(container, force=True)


def _packed(folder: Path, place: str, python: str = "") -> bytes:
    """A folder as an archive, owned by root; with `python`, the packages of an environment that uses that of /usr."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return None if member.name.endswith(".pyc") else member

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(folder, place.lstrip("/"), filter=owned)
        if python:
            settings = b"home = /usr/bin\ninclude-system-site-packages = false\n"
            member = tarfile.TarInfo(f"{ENVIRONMENT}/pyvenv.cfg".lstrip("/"))
            member.size = len(settings)
            tar.addfile(member, io.BytesIO(settings))
            for link in ("python", "python3"):
                member = tarfile.TarInfo(f"{ENVIRONMENT}/bin/{link}".lstrip("/"))
                member.type, member.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
                tar.addfile(member)
    return file.getvalue()


def _python_of(image: Path) -> str:
    """What python3 is in a packed root: ``python3.11``."""
    with tarfile.open(image) as tar:
        for member in tar:
            if member.name == "./usr/bin/python3":
                return Path(member.linkname).name
    raise RuntimeError(f"{image} has no /usr/bin/python3")
