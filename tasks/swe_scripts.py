"""The script that runs an instance's hidden tests, in the form that swebench 5 has it.

A row of swebench 5 brings its own. Others have theirs made here: check out the base's test files, apply the test
patch, run the tests between two marks, and put the test files back. `recorded` adds the exit code, as swebench does
when it runs a script; a script of a row does not have that line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepgym.tasks.swe_patch_reading import changes

START, END = ">>>>> Start Test Output", ">>>>> End Test Output"
EXIT_CODE = ">>>>> Test Exit Code"
HEADER = ("#!/bin/bash", "set -uxo pipefail")
ACTIVATE = ("source /opt/miniconda3/bin/activate", "conda activate testbed")
DELIMITER = "EOF_114329324912"
DATA = (".json", ".png", "csv", ".txt", ".md", ".jpg", ".jpeg", ".pkl", ".yml", ".yaml", ".toml")
"""The ends of test files that are no tests to name on a command line (SWE-bench, ``NON_TEST_EXTS``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """How the tests of a repository of SWE-bench or SWE-Gym are run, by SWE-bench's 2024 specifications."""

    test: str = "pytest -rA"
    parser: str = "parse_log_pytest"
    install: str = "python -m pip install -e ."
    setup: tuple[str, ...] = ()
    gym: bool = False
    """It is of SWE-Gym, whose images have another name."""


_LOCALES = ("export LANG=en_US.UTF-8", "export LANGUAGE=en_US:en", "export LC_ALL=en_US.UTF-8")
_DEV, _GYM = "python -m pip install -e '.[dev]'", Repository(gym=True)
REPOSITORIES: Mapping[str, Repository] = {
    "astropy/astropy": Repository(
        test="pytest -rA -vv -o console_output_style=classic --tb=no",
        parser="parse_log_astropy",
        install="python -m pip install -e '.[test]' --verbose",
    ),
    "django/django": Repository(
        test="./tests/runtests.py --verbosity 2 --settings=test_sqlite --parallel 1",
        parser="parse_log_django",
        setup=_LOCALES,
    ),
    "marshmallow-code/marshmallow": Repository(parser="parse_log_marshmallow", install=_DEV),
    "matplotlib/matplotlib": Repository(parser="parse_log_matplotlib"),
    "mwaskom/seaborn": Repository(test="pytest --no-header -rA", parser="parse_log_seaborn"),
    "pallets/flask": Repository(parser="parse_log_flask"),
    "psf/requests": Repository(parser="parse_log_requests", install="python -m pip install ."),
    "pvlib/pvlib-python": Repository(parser="parse_log_pvlib", install="python -m pip install -e '.[all]'"),
    "pydata/xarray": Repository(parser="parse_log_xarray"),
    "pydicom/pydicom": Repository(parser="parse_log_pydicom"),
    "pylint-dev/astroid": Repository(parser="parse_log_astroid"),
    "pylint-dev/pylint": Repository(parser="parse_log_pylint"),
    "pytest-dev/pytest": Repository(),
    "pyvista/pyvista": Repository(parser="parse_log_pyvista"),
    "scikit-learn/scikit-learn": Repository(
        parser="parse_log_scikit", install="python -m pip install -v --no-use-pep517 --no-build-isolation -e ."
    ),
    "sphinx-doc/sphinx": Repository(
        test="tox --current-env -epy39 -v --", parser="parse_log_sphinx", install="python -m pip install -e '.[test]'"
    ),
    "sqlfluff/sqlfluff": Repository(parser="parse_log_sqlfluff"),
    "sympy/sympy": Repository(
        test="PYTHONWARNINGS='ignore::UserWarning,ignore::SyntaxWarning' bin/test -C --verbose",
        parser="parse_log_sympy",
    ),
    "Project-MONAI/MONAI": _GYM,
    "bokeh/bokeh": _GYM,
    "conan-io/conan": _GYM,
    "dask/dask": _GYM,
    "facebookresearch/hydra": _GYM,
    "getmoto/moto": _GYM,
    "iterative/dvc": _GYM,
    "modin-project/modin": _GYM,
    "pandas-dev/pandas": _GYM,
    "pydantic/pydantic": _GYM,
    "python/mypy": Repository(test="pytest -rA -k", gym=True),
}
"""By repository; any other is taken for one whose tests pytest runs."""


def eval_script(
    test_patch: str,
    tests: str,
    *,
    base: str,
    workdir: str = "/testbed",
    before: Iterable[str] = (),
    files: Sequence[str] | None = None,
) -> str:
    """The script that runs `tests`, a command line, over the hidden tests of a patch.

    `before` are the lines that make everything ready, and `files` what is put back where there is no patch.
    """
    touched = changes(test_patch) if test_patch else ()
    old = list(dict.fromkeys(change.before for change in touched if change.before)) if files is None else list(files)
    new = list(dict.fromkeys(change.after for change in touched if change.after and change.after not in old))
    back = [f"git checkout {base} -- {shlex.join(old)}"] if old else []
    if new:  # an agent may have made files of these names
        back.append(f"rm -f -- {shlex.join(new)}")
    quoted = shlex.quote(workdir)
    lines = [*HEADER, f"cd {quoted}", f"git config --global --add safe.directory {quoted}", *before, *back]
    if test_patch:
        delimiter = DELIMITER
        while delimiter in test_patch:
            delimiter += "0"
        lines += [f"git apply -v - <<'{delimiter}'", test_patch.removesuffix("\n"), delimiter]
    lines += [f": '{START}'", tests, f": '{END}'", *back]
    return "\n".join(lines) + "\n"


def derived_script(repo: str, version: str, base: str, test_patch: str, tests: Sequence[str]) -> str:
    """The script of a row that has none, run in its image. `tests` are its FAIL_TO_PASS and PASS_TO_PASS."""
    how = REPOSITORIES.get(repo, Repository())
    before = [*ACTIVATE, "cd /testbed", *how.setup, _install(repo, version, how)]
    if test_patch:
        command = f"{how.test} {' '.join(_directives(repo, test_patch))}"
        return eval_script(test_patch, command, base=base, before=before)
    # SWE-smith: the tests are the repository's own
    named = sorted({name.partition("::")[0] for name in tests if ".py" in name.partition("::")[0]})
    return eval_script("", f"{how.test} {shlex.join(named)}", base=base, before=before, files=named)


def image_name(repo: str, instance_id: str) -> str:
    """The published image of a row that names none: SWE-bench's rule, or SWE-Gym's."""
    if REPOSITORIES.get(repo, Repository()).gym:
        return f"xingyaoww/sweb.eval.x86_64.{instance_id.replace('__', '_s_')}:latest".lower()
    return f"swebench/sweb.eval.x86_64.{instance_id.replace('__', '_1776_')}:latest".lower()


def parser_name(repo: str) -> str:
    """The log parser of a row that names none, as swebench gives it to the repository."""
    return REPOSITORIES.get(repo, Repository()).parser


def recorded(script: str) -> str:
    """The script as it is run: it also prints the exit code of the tests, after the end mark.

    The line before the end mark must be the tests' command. A script without that mark stays as it is.
    """
    lines = script.split("\n")
    at = next((index for index, line in enumerate(lines) if END in line), None)
    if at is None:
        return script
    code = "SWEBENCH_TEST_EXIT_CODE"
    return "\n".join([*lines[:at], f"{code}=$?", lines[at], f'echo "{EXIT_CODE}: ${code}"', *lines[at + 1 :]])


def _install(repo: str, version: str, how: Repository) -> str:
    if repo == "django/django" and version.partition(".")[0] in ("1", "2"):
        return "python setup.py install"
    if repo == "mwaskom/seaborn" and version != "0.11":
        return _DEV
    if repo == "matplotlib/matplotlib" and version in ("3.8", "3.9"):
        return "python -m pip install --no-build-isolation -e '.[dev]'"
    return how.install


def _directives(repo: str, test_patch: str) -> list[str]:
    """What of the patch's files the test command is given."""
    if repo == "python/mypy":  # its tests are cases in data files
        cases = re.findall(r"\[case ([^\]\s]{1,200})\]", test_patch)
        return [shlex.quote(" or ".join(dict.fromkeys(cases)))]
    files = [change.after for change in changes(test_patch) if change.after and not change.after.endswith(DATA)]
    if repo == "django/django":
        files = [file.removesuffix(".py").removeprefix("tests/").replace("/", ".") for file in files]
    return [shlex.quote(file) for file in files]
