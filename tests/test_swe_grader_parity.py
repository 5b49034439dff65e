"""Our verdicts against those of swebench 5.0.2, field by field: on the stored logs, and on generated ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepgym.errors import RewardError
from stepgym.evals.swe_grader import PARSERS, grade, parse_log, parser_of
from stepgym.rewards.swe.marks import APPLY_FAILED, END, EXIT_CODE, RESET_FAILED, START, TESTS_TIMEOUT
from tests.swebench_process import Oracle

THOROUGH = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
INSTANCES = {"parse_log_jekyll": "jekyll__jekyll-9141", "parse_log_immutable_js": "immutable-js__immutable-js-2005"}


def row(**fields: Any) -> dict[str, Any]:
    return {
        "instance_id": "owner__name-1", "repo": "owner/name", "image": "x", "version": "1.0", "eval_script": "",
        "log_parser": "parse_log_pytest", "eval_type": "pass_and_fail", "FAIL_TO_PASS": [], "PASS_TO_PASS": [],
        **fields,
    }  # fmt: skip


def same_statuses(oracle: Oracle, parser: str, log: str, version: str = "1.0") -> None:
    about = row(log_parser=parser, version=version, instance_id=INSTANCES.get(parser, "owner__name-1"))
    theirs = oracle.ask(ask="parse", row=about, log=log)
    try:
        ours: Any = {"answer": parse_log(parser, log, instance_id=about["instance_id"], version=version)}
    except RewardError as error:
        ours = {"error": str(error)}
    assert ours.get("answer") == theirs.get("answer"), (parser, ours, theirs)


def same_report(oracle: Oracle, about: dict[str, Any], log: str, patch: str | None = "x") -> dict[str, Any]:
    theirs = oracle.ask(ask="grade", row=about, log=log, patch=patch)
    ours = grade(about, log.encode(), patch=patch).to_json()
    if "error" not in theirs:
        assert ours == theirs["answer"]
    else:
        (report,) = ours.values()
        assert not report["resolved"], theirs
    return ours


def test_every_parser_is_there(oracle: Oracle) -> None:
    assert sorted(PARSERS) == oracle.ask(ask="names")["answer"]


def stored_logs(data_dir: Path) -> list[Path]:
    logs = sorted((data_dir / "swe" / "harness_logs").rglob("*.txt"))
    assert len(logs) >= 20
    return logs


def test_official_reports(oracle: Oracle, data_dir: Path) -> None:
    rows = {r["instance_id"]: r for r in json.loads((data_dir / "swe/rows/v5_rows.json").read_text())}
    logs = [log for log in stored_logs(data_dir) if "official" in log.parts]
    resolved = 0
    for path in logs:
        about = rows[path.parent.name]
        stored = json.loads(path.with_name("report.json").read_text())
        verdict = grade(about, path.read_bytes(), patch=about["patch"])
        assert verdict.to_json() == stored == same_report(oracle, about, path.read_text())
        assert verdict.tampered == ()
        assert verdict.strict is (None if verdict.resolved else False)
        resolved += verdict.resolved
    assert 0 < resolved < len(logs)


@pytest.mark.parametrize("parser", PARSERS)
def test_stored_logs_with_every_parser(oracle: Oracle, data_dir: Path, parser: str) -> None:
    for path in stored_logs(data_dir):
        same_statuses(oracle, parser, path.read_text())


def test_stored_logs_as_evaluations(oracle: Oracle, data_dir: Path) -> None:
    """Logs without marks, put between them: what passed is asked for, and then what failed too."""
    graded = 0
    for path in stored_logs(data_dir):
        text = path.read_text()
        log = text if START in text else f"+ : '{START}'\n{text}\n+ : '{END}'\n{EXIT_CODE}: 1\n"
        for repo in ("django/django", "sympy/sympy", "sphinx-doc/sphinx", "psf/requests", "mwaskom/seaborn"):
            parser = parser_of(repo)
            found = parse_log(parser, text)
            passed = [test for test, status in found.items() if status == "PASSED"]
            rest = [test for test in found if test not in passed]
            for f2p, p2p in ((passed[:1], passed), (passed, rest), (rest, passed)):
                about = row(repo=repo, log_parser=parser, FAIL_TO_PASS=f2p, PASS_TO_PASS=json.dumps(p2p))
                same_report(oracle, about, log)
                same_report(oracle, {**about, "eval_type": "fail_only"}, log)
                graded += bool(f2p)
        same_report(oracle, about, text, patch=None)
    assert graded > 100


WORDS = ["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS", "ERROR:", "ERRORS", "FAIL", "PASS", "SKIP", "ok"]
PYTEST = [
    *WORDS, " ", " ", "\n", "\n", " - ", "t.py::a", "t.py::a[x y]", "t.py::a[/tmp/x/y]", "t.py::a[//x/*/y]", "]", "[",
    "[1]", "[100%]", "\x1b[32m", "\x1b[0m", "\t", "\r", "MouseButton.LEFT", "b", "\x1c", "\u2028", "[/", "/",
]  # fmt: skip
DJANGO = [
    "test_a (m.C)", "test_b", " ... ", " ... ok", " ... OK", " ...  OK", " ... FAIL", " ... ERROR", " ... skipped 'x'",
    "FAIL: test_a", "ERROR: test_b", "ok", "\n", "\n", "\n", " ", "--version is equivalent to version", "...",
    "Applying sites.0002_alter_domain_unique...test_no_migrations", "\nok\n", "/", "/\nok\n", "\n... ", " ...\n",
    " ... Testing against Django installed in ", "/x silenced).\nok", " silenced).\nok\n", "Internal Server Error: /",
    " ... Internal Server Error: /", " ... System check identified no issues (0 silenced)\nok", "FAIL:", "FAIL: ",
]  # fmt: skip
SYMPY = ["test_a", " ok", " E", " F", " f", "\n", "\n", "___", "_", " ", " a.py:test_b ", "x.py:", ".py:", "[OK]", "  "]
LINES = [
    *WORDS, "✓ a", "✕ b", "○ c", "× d", "↓ e", "✔ f", "✘ g", "✖ h", "↩ i", " (5 ms)", " (5ms)", " 5ms", " [skipped]",
    "--- PASS: TestA (0.1s)", "--- FAIL: TestB (1s)", "test a::b ... ok", "[ok]: a (5 ms)", "[err]: b in x.tcl",
    "[ok]: ", "PASS: x", "pass  y.py", "skip  z", "[       OK ] A.b (1 ms)", "[  FAILED  ] A.c (1 ms)",
    "    [junit] [PASS] a", "A#b. = 0.01 s = .", "A#c. x=F", "a b ....F", "test: a: ", "a: .", "b: E", "c:  O",
    "x - passed", "y - failed", "ok 1 a", "not ok 2 b", "[PASSED] a", "[FAILED] b", "Suite (Name\\Space)",
    "mvn -Dtest=A#b test", "BUILD SUCCESS", "BUILD FAILURE", "a.B > c PASSED", "a.B > d", "PASSED", "\n", "\n", "\n",
    " ", "  ", "    ", "(12ms)", "\n\n", "PASS a.js (5.1s)", "FAIL b.js (12ms)", "PASS c (1 s)", "1) a", "  2) b:",
    "   c:", "Error", "AssertionError: x", "Chrome 99.0 (Linux x86_64) a FAILED",
    "HeadlessChrome 1.0 (Linux 0.0.0) b FAILED\n", "3 passing", "running 2 test files",
    "Chrome Headless 1.2 (Linux x86_64) q FAILED\n", "case x: mismatch", "    at x", " xvfb-run ",
    "Starting browser Chrome", "TOTAL", "SUMMARY:", " ./node_modules/.bin/jest ", "  ● x", "Test Suites",
    "[smoke] > a ... ", "[unit] /tmp/ab/c", "[unit] /tmp/zz.qmd ...", "\x1b[32mok", "\x1b[31mFAILED", "ERRORS",
    "failures:", "test result:", "34mINFO", "✗ z", "LOG", "<doctest>", "</doctest>",
    '<TestCase name="a"><SubCase name="b"><Expression success="true"/></SubCase></TestCase>',
    "./node_modules/.bin/mocha tests/run.js --reporter json", '{"failures": [{"fullTitle": "a"}], "passes": []}', "{",
    "}", "./node_modules/.bin/mocha --reporter json", '"passes": [', '"fullTitle": "t",\n', "],", '"failures": [',
    "[", "]", "Running: x)\n\n\n  suite\n", "    1) f", "    ✓ p (", "<a>", "</a>", "<b>",
]  # fmt: skip


STARTS = {
    "parse_log_calypso": " ./node_modules/.bin/jest \n  suite\n",
    "parse_log_karma": "Starting browser Chrome\n  suite\n",
    "parse_log_next": " xvfb-run \n",
    "parse_log_lighthouse": "running 2 test files\n  suite\n",
    "parse_log_phpunit": "Suite (Name)\n",
    "parse_log_doctest": "<doctest>",
}
"""What comes before the results that a parser reads."""


def logs(fragments: list[str], start: str = "") -> st.SearchStrategy[str]:
    """Anything made of the fragments, in any order, with a little noise."""
    noise = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=3)
    pieces = st.lists(st.sampled_from(fragments) | st.sampled_from(fragments) | noise, min_size=1, max_size=3)
    lines = st.lists(pieces.map("".join), max_size=20).map("\n".join)
    return st.builds("{}{}".format, st.just(start), lines) if start else lines


def parsers_in(*modules: str) -> list[str]:
    return [name for name in PARSERS if any(f".{module}:" in PARSERS[name] for module in modules)]


@pytest.mark.parametrize("parser", sorted({PARSERS[name]: name for name in parsers_in("logs_pytest")}.values()))
def test_generated_logs_of_pytest(oracle: Oracle, parser: str) -> None:
    THOROUGH(given(log=logs(PYTEST))(lambda log: same_statuses(oracle, parser, log)))()


@pytest.mark.parametrize(("parser", "fragments"), [("parse_log_django", DJANGO), ("parse_log_sympy", SYMPY)])
def test_generated_logs_of_other_python_runners(oracle: Oracle, parser: str, fragments: list[str]) -> None:
    more = settings(THOROUGH, max_examples=800)
    more(given(log=logs(fragments))(lambda log: same_statuses(oracle, parser, log)))()


@pytest.mark.parametrize("parser", [name for name in PARSERS if name not in parsers_in("logs_pytest", "logs_python")])
def test_generated_logs_of_other_languages(oracle: Oracle, parser: str) -> None:
    versions = st.sampled_from(["1.27", "9.5", "3.0", "2.1"])
    few = settings(THOROUGH, max_examples=80)
    texts = logs(LINES, STARTS.get(parser, ""))
    few(given(log=texts, version=versions)(lambda log, version: same_statuses(oracle, parser, log, version)))()


TESTS = ["t.py::a", "t.py::a[x", "t.py::b[", "t.py::b[x y]", "t.py::c[/y]", "t.py::d"]
MARKS = [
    f"\n+ : '{START}'\n", f"\n+ : '{END}'\n", f"\n{EXIT_CODE}: 0\n", f"\n{EXIT_CODE}: 1\n", f"\n{EXIT_CODE}: -9\n",
    APPLY_FAILED, RESET_FAILED, TESTS_TIMEOUT, "\nKilled\n", "ModuleNotFoundError", "Could not resolve host",
    "3 passing", "Executed 0 of 3", "Executed 2 of 3", "0 specs, 1 failure", "Tests: 4", "# tests 3", "\nx': ok\n",
    "\r\n", "\r", "no tests ran", "Timeout error: 5 seconds exceeded", "00 passing", "Test Suites: 1 failed, 2 total",
]  # fmt: skip


def test_generated_evaluations(oracle: Oracle) -> None:
    """Marks, exit codes and results in any order; ids that are cut; both kinds of evaluation."""
    line = st.builds("\n{} {}\n".format, st.sampled_from(WORDS[:7]), st.sampled_from([*TESTS, "t.py::a[x2]", "[3]"]))
    inner = st.lists(line, max_size=12).map("".join)
    whole = st.builds(f"x\n{START}\n{{}}{END}\n{EXIT_CODE}: {{}}\n".format, inner, st.sampled_from(["0", "1"]))
    mixed = st.lists(st.sampled_from(MARKS) | line | inner, max_size=12).map("".join)
    seen: set[bool] = set()

    @settings(THOROUGH, max_examples=1200)
    @given(
        log=whole | mixed | st.builds("{}{}".format, whole, mixed),
        parser=st.sampled_from(["parse_log_pytest", "parse_log_pytest_v2", "parse_log_requests", "parse_log_marked"]),
        eval_type=st.sampled_from(["pass_and_fail", "fail_only"]),
        f2p=st.lists(st.sampled_from(TESTS), max_size=2, unique=True),
        p2p=st.lists(st.sampled_from(TESTS), max_size=3, unique=True),
    )
    def check(log: str, parser: str, eval_type: str, f2p: list[str], p2p: list[str]) -> None:
        about = row(log_parser=parser, eval_type=eval_type, FAIL_TO_PASS=json.dumps(f2p), PASS_TO_PASS=p2p)
        (report,) = same_report(oracle, about, log).values()
        seen.add(report["resolved"])

    check()
    assert seen == {True, False}
