"""Verdicts: what is graded, what speaks against it, and the harness's own record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import TaskError, UnknownNameError
from stepgym.evals.swe_grader import RunRecord, Target, TestRecord, grade, parser_of, read_record
from stepgym.rewards.swe.marks import END, EXIT_CODE, START
from stepgym.rewards.swe.record import Outcome, Phase
from stepgym.rewards.swe.recorder import Recorder
from stepgym.tasks.swe import Instance, swe_task

KEY = b"k" * 32
ROW = {
    "instance_id": "owner__name-1",
    "repo": "owner/name",
    "log_parser": "parse_log_pytest",
    "eval_type": "pass_and_fail",
    "FAIL_TO_PASS": '["test_it.py::test_new"]',
    "PASS_TO_PASS": ["test_it.py::test_old"],
}
HEAD = "============================= test session starts =============================="
LIST = "=========================== short test summary info ============================"
HONEST = f"""{HEAD}
collected 2 items

test_it.py ..

{LIST}
PASSED test_it.py::test_new
PASSED test_it.py::test_old
============================== 2 passed in 0.01s ===============================
"""


def log_of(output: str, code: int = 0) -> str:
    return f"+ : '{START}'\n{output}\n+ : '{END}'\n+ echo '{EXIT_CODE}: {code}'\n{EXIT_CODE}: {code}\n"


def record_of(**outcomes: str) -> RunRecord:
    phases = (Phase.SETUP, Phase.CALL, Phase.TEARDOWN)
    lines = [
        TestRecord(f"test_it.py::{test}", phase, outcome if phase is Phase.CALL else Outcome.PASSED)
        for test, outcome in outcomes.items()
        for phase in phases
    ]
    return RunRecord(tests=tuple(lines), exit_code=0)


AGAIN = TestRecord("test_it.py::test_new", Phase.CALL, Outcome.FAILED)
BOTH = record_of(test_new=Outcome.PASSED, test_old=Outcome.PASSED)


def test_an_honest_run_is_resolved_and_strict_with_a_record() -> None:
    verdict = grade(ROW, log_of(HONEST), record=BOTH)
    assert (verdict.resolved, verdict.strict, verdict.tampered) == (True, True, ())
    assert grade(ROW, log_of(HONEST)).strict is None
    assert [test.target for test in verdict.tests] == [Target.FAIL_TO_PASS, Target.PASS_TO_PASS]
    assert verdict.share(Target.FAIL_TO_PASS) == 1.0


def test_rows_tasks_and_instances_are_graded_alike() -> None:
    instance = Instance(
        repo="owner/name",
        log_parser="parse_log_pytest",
        fail_to_pass=("test_it.py::test_new",),
        pass_to_pass=("test_it.py::test_old",),
    )
    task = swe_task("owner__name-1", "", "", instance)
    old = {key: value for key, value in ROW.items() if key not in ("log_parser", "eval_type")}
    verdicts = [grade(row, log_of(HONEST).encode()) for row in (ROW, task, old)]
    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert grade(instance, log_of(HONEST)).tests == verdicts[0].tests


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("FAIL_TO_PASS", "test_it.py", "row owner__name-1: FAIL_TO_PASS is not a list of tests"),
        ("PASS_TO_PASS", [1], "row owner__name-1: PASS_TO_PASS is not a list of tests"),
        ("eval_type", "fail", "eval_type is 'fail', not pass_and_fail or fail_only"),
        ("log_parser", "parse_log_pytst", "did you mean 'parse_log_pytest'?"),
    ],
)
def test_a_broken_row_is_named(field: str, value: Any, sentence: str) -> None:
    with pytest.raises((TaskError, UnknownNameError)) as caught:
        grade({**ROW, field: value}, log_of(HONEST))
    assert sentence in str(caught.value)


def test_parsers_of_repositories() -> None:
    assert parser_of("sympy/sympy") == "parse_log_sympy"
    assert parser_of("somebody/something") == "parse_log_pytest"


UNITTEST = "test_new (m.C) ... ok\ntest_old (m.C) ... ok\n\nRan 2 tests in 0.001s\n\nOK\n"
DJANGO = {"log_parser": "parse_log_django", "FAIL_TO_PASS": ["test_new (m.C)"], "PASS_TO_PASS": ["test_old (m.C)"]}
SYMPY_LOG = "test_new ok\ntest_old ok   [OK]\n==== tests finished: 2 passed, in 9.40 seconds ====\n"
SYMPY = {"log_parser": "parse_log_sympy", "FAIL_TO_PASS": ["test_new"], "PASS_TO_PASS": []}
FORGED = "PASSED test_it.py::test_new\nPASSED test_it.py::test_old\n"
ONE_PASSED = HONEST.replace("PASSED test_it.py::test_new", "FAILED test_it.py::test_new - x").replace("2 p", "1 p")


@pytest.mark.parametrize(
    ("row", "log", "reason"),
    [
        ({}, log_of(FORGED), "printed no count"),
        ({}, log_of(f"{HEAD}\ncollected 2 items\n{FORGED}"), "printed no count"),
        ({}, log_of(HONEST.replace("2 passed", "1 passed, 1 error")), "pytest counted 1"),
        ({}, log_of(ONE_PASSED + "PASSED test_it.py::test_new\n"), "counted 1"),
        ({}, log_of(FORGED + HONEST.replace("PASSED test_it.py::test_new\n", "")), "outside of pytest's list"),
        ({}, log_of(HONEST.replace("collected 2", "collected 1")), "pytest collected 1"),
        ({}, log_of(ONE_PASSED.replace("FAILED test_it.py::test_new - x", "FAILED test_it.py::test_new\n" + FORGED), 0),
         "listed as passed and as failed"),
        ({}, log_of(HONEST) + f"\n{EXIT_CODE}: 1\n", "exit codes"),
        ({}, log_of(f"{START}\n{HONEST}"), "start is printed 2 times"),
        ({}, log_of(HONEST + END), "end is printed 2 times"),
        (DJANGO, log_of(UNITTEST.partition("Ran")[0]), "unittest printed no count"),
        (DJANGO, log_of(UNITTEST.replace("Ran 2", "Ran 1")), "unittest counted 1"),
        (SYMPY, log_of(SYMPY_LOG.partition("====")[0]), "SymPy's runner printed no count"),
        (SYMPY, log_of(SYMPY_LOG.replace("2 passed", "1 failed")), "counted 0"),
    ],
)  # fmt: skip
def test_a_log_that_tells_of_no_whole_run(row: dict[str, Any], log: str, reason: str) -> None:
    """The official verdict believes these; the strict one does not."""
    verdict = grade({**ROW, **row}, log)
    assert verdict.resolved, verdict.why
    assert verdict.strict is False
    assert any(reason in why for why in verdict.tampered), verdict.tampered


@pytest.mark.parametrize(("row", "log"), [({}, HONEST), (DJANGO, UNITTEST), (SYMPY, SYMPY_LOG)])
def test_an_honest_log_gives_no_reason(row: dict[str, Any], log: str) -> None:
    verdict = grade({**ROW, **row}, log_of(log))
    assert verdict.resolved
    assert verdict.tampered == ()


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (log_of(HONEST, code=3), "exited with 3, though none has failed"),
        (HONEST, "lacks the marks"),
        (f"{START}\n{HONEST}", "lacks the marks"),
        (log_of(HONEST) + ">>>>> Tests Timed Out", "Tests Timed Out"),
        (log_of("nothing"), "names no test"),
        ("", "lacks the marks"),
    ],
)
def test_a_log_that_is_no_test_run(log: str, why: str) -> None:
    verdict = grade(ROW, log, record=BOTH)
    assert (verdict.resolved, verdict.strict, verdict.read) == (False, False, False)
    assert why in verdict.why


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (record_of(test_new="failed", test_old="passed"), "test_new: the log says PASSED, and the harness saw FAILED"),
        (record_of(test_old=Outcome.PASSED), "test_new: the log says PASSED, and the harness saw nothing"),
        (record_of(test_new=Outcome.SKIPPED, test_old=Outcome.PASSED), "the harness saw SKIPPED"),
        (RunRecord(tests=BOTH.tests), "ended before its record did"),
        (RunRecord(tests=BOTH.tests, exit_code=0, flaw="line 3 is not ours"), "line 3 is not ours"),
        (RunRecord(tests=(*BOTH.tests, AGAIN), exit_code=0), "the harness saw FAILED"),
        (RunRecord(tests=BOTH.tests[:2] + BOTH.tests[3:], exit_code=0), "test_new: the log says PASSED"),
    ],
)  # fmt: skip
def test_a_record_that_says_otherwise(record: RunRecord, reason: str) -> None:
    verdict = grade(ROW, log_of(HONEST), record=record)
    assert verdict.resolved
    assert verdict.strict is False
    assert any(reason in why for why in verdict.tampered), verdict.tampered


def test_skipped_keeps_a_test_and_resolves_none() -> None:
    log = log_of(HONEST.replace("PASSED test_it.py::test_old", "SKIPPED test_it.py::test_old").replace("2 p", "1 p"))
    skipped = record_of(test_new=Outcome.PASSED, test_old=Outcome.SKIPPED)
    assert grade(ROW, log, record=skipped).strict is True
    swapped = {**ROW, "FAIL_TO_PASS": ROW["PASS_TO_PASS"], "PASS_TO_PASS": ROW["FAIL_TO_PASS"]}
    assert grade(swapped, log, record=skipped).resolved is False


def test_ids_that_a_parser_cuts_are_found_in_the_record() -> None:
    """pytest's parser cuts an id at a blank, where several tests may fall together: all of them have to pass."""
    row = {**ROW, "FAIL_TO_PASS": ["test_it.py::test_new[a"], "PASS_TO_PASS": []}
    log = log_of(HONEST.replace("test_new", "test_new[a b]").replace("test_old", "test_new[a c]"))
    passed = record_of(**{"test_new[a b]": Outcome.PASSED, "test_new[a c]": Outcome.PASSED})
    failed = record_of(**{"test_new[a b]": Outcome.FAILED, "test_new[a c]": Outcome.PASSED})
    assert grade(row, log, record=passed).strict is True
    assert grade(row, log, record=failed).strict is False


FORGING = """
import os
def pytest_collection_finish(session):
    for item in session.items:
        print("\\nPASSED", item.nodeid, flush=True)
    os._exit(0)
"""
PLUGIN = """
import importlib.util, os, pytest
spec = importlib.util.spec_from_file_location("recorder", os.environ["RECORDER"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
recorder = module.Recorder(int(os.environ["DESCRIPTOR"]), os.environ.pop("KEY").encode())
def pytest_collection_modifyitems(items):
    for item in items:
        recorder.write(item.nodeid, "collect")
def pytest_runtest_logreport(report):
    recorder.write(report.nodeid, report.when, report.outcome)
def pytest_unconfigure(config):
    recorder.seal(0)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "it.py").write_text("def half(n): return n // 3\n")
    (tmp_path / "test_it.py").write_text(
        "from it import half\ndef test_new(): assert half(8) == 4\ndef test_old(): assert half(0) == 0\n"
    )
    return tmp_path


def run_tests(repository: Path, tmp: Path) -> tuple[str, RunRecord]:
    """Run pytest as an evaluation does, with a recorder beside it."""
    (tmp / "plugin_of_the_harness.py").write_text(PLUGIN)
    reading, writing = os.pipe()
    recorder = Path(sys.modules[Recorder.__module__].__file__ or "")
    env = {
        **os.environ, "PYTHONPATH": str(tmp), "RECORDER": str(recorder), "DESCRIPTOR": str(writing),
        "KEY": KEY.decode(), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rA",
        "-p",
        "plugin_of_the_harness",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    done = subprocess.run(
        command, cwd=repository, capture_output=True, text=True, pass_fds=[writing], env=env, check=False
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return log_of(done.stdout, done.returncode), read_record(pipe.read(), KEY)


def test_a_forged_conftest_buys_the_official_verdict_and_not_the_strict_one(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (repository / "conftest.py").write_text(FORGING)
    log, record = run_tests(repository, tmp_path_factory.mktemp("harness"))
    for seen in (None, record):
        verdict = grade(ROW, log, record=seen)
        assert verdict.resolved
        assert verdict.strict is False
        assert any("ended early" in why for why in verdict.tampered)


def test_a_real_run_is_recorded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    harness = tmp_path_factory.mktemp("harness")
    log, record = run_tests(repository, harness)
    assert (grade(ROW, log, record=record).resolved, record.sealed) == (False, True)
    assert record.statuses() == {"test_it.py::test_new": "FAILED", "test_it.py::test_old": "PASSED"}
    (repository / "it.py").write_text("def half(n): return n // 2\n")
    log, record = run_tests(repository, harness)
    verdict = grade(ROW, log, record=record)
    assert (verdict.strict, verdict.tampered) == (True, ())


def written(*lines: tuple[str, str, str]) -> bytes:
    reading, writing = os.pipe()
    recorder = Recorder(writing, KEY)
    for line in lines:
        recorder.write(*line)
    if os.fork() == 0:  # a fork of the process that tests run in
        recorder.write("a", "call", "passed")
        os._exit(0)
    os.wait()
    recorder.seal(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()


def test_a_record_reads_back_and_cannot_be_changed() -> None:
    data = written(("a", "setup", "passed"), ("a", "call", "failed"), ("ä\n", "call", "passed"))
    record = read_record(data, KEY)
    assert (record.exit_code, record.sealed, len(record.tests)) == (1, True, 3)
    lines = data.splitlines(keepends=True)
    broken = [
        data.replace(b"failed", b"passed"),
        b"".join([lines[0], *lines[2:]]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"".join([*lines[:2], lines[1], *lines[2:]]),
        b"".join(lines[:-1]),
        b"PASSED a\n" + data,
        b"",
        data[:-1],
    ]
    for forged in broken:
        assert not read_record(forged, KEY).sealed, forged
    assert not read_record(data, b"another").sealed


def test_what_a_thief_of_the_key_signs_is_read_safely() -> None:
    for line in (b"[]", b"null", b"[0, 1]", b'[0, "a", "b", "c"]', b'[7, "a", "call", "passed"]', b"[" * 9999, b"\xff"):
        import hashlib
        import hmac

        data = hmac.new(KEY, line, hashlib.sha256).hexdigest().encode() + b" " + line + b"\n"
        assert "not the recorder's" in read_record(data, KEY).flaw


@pytest.mark.parametrize("parser", ["parse_log_pytest_v2", "parse_log_requests", "parse_log_django", "parse_log_sympy"])
@pytest.mark.parametrize(
    "piece",
    [
        "x ... Testing against Django installed in y\n",
        " ... Internal Server Error: /",
        "1", "_ ", "____ a.py:", "Ran 1 tests", "\n", " ... ", "1 passed, ", "PASSED a[/", "collected 1 item\n=",
        "9 a, " * 10 + "\n", "===== short test summary info =====\n", f"{EXIT_CODE}: 1\n",
    ],
)  # fmt: skip
def test_no_log_stalls_the_grader(parser: str, piece: str) -> None:
    log = log_of(piece * (500_000 // len(piece)))
    started = time.process_time()
    grade({**ROW, "log_parser": parser}, log)
    assert time.process_time() - started < 3


def test_bytes_that_are_no_text_are_graded() -> None:
    verdict = grade(ROW, b"\xff\xfe\r\n" + log_of(HONEST).replace("\n", "\r\n").encode())
    assert verdict.resolved


def test_a_report_is_json() -> None:
    report = grade(ROW, log_of(HONEST)).to_json()
    assert json.loads(json.dumps(report)) == report
    assert grade(ROW, "", patch=None).to_json()["owner__name-1"]["patch_is_None"] is True
