"""Log parsers by the names that rows give them, and the parser of each repository for rows that name none.

A parser is a function of a log, `parse_log` the way to call one by name. Their results are those of swebench 5.0.2.
Those for Python take time linear in the log; the others hold patterns that a hostile log may stall for long.
"""

from __future__ import annotations

from collections.abc import Callable

from stepgym.errors import RewardError, TaskError
from stepgym.registry import Registry
from stepgym.rewards.swe.statuses import Statuses

Parser = Callable[[str], Statuses]

_HERE = "stepgym.rewards.swe"
_PYTEST = f"{_HERE}.logs_pytest:parse_pytest"
_OPTIONS = f"{_HERE}.logs_pytest:parse_pytest_options"
_V2 = f"{_HERE}.logs_pytest:parse_pytest_v2"
_FILES = f"{_HERE}.logs_javascript:parse_files"

PARSERS: Registry[Statuses] = Registry(
    "log parser",
    {
        "parse_log_pytest": _PYTEST,
        "parse_log_astroid": _PYTEST,
        "parse_log_flask": _PYTEST,
        "parse_log_marshmallow": _PYTEST,
        "parse_log_pvlib": _PYTEST,
        "parse_log_pyvista": _PYTEST,
        "parse_log_sqlfluff": _PYTEST,
        "parse_log_xarray": _PYTEST,
        "parse_log_pytest_options": _OPTIONS,
        "parse_log_pydicom": _OPTIONS,
        "parse_log_pylint": _OPTIONS,
        "parse_log_requests": _OPTIONS,
        "parse_log_pytest_v2": _V2,
        "parse_log_astropy": _V2,
        "parse_log_scikit": _V2,
        "parse_log_sphinx": _V2,
        "parse_log_matplotlib": f"{_HERE}.logs_pytest:parse_matplotlib",
        "parse_log_seaborn": f"{_HERE}.logs_pytest:parse_seaborn",
        "parse_log_django": f"{_HERE}.logs_python:parse_django",
        "parse_log_sympy": f"{_HERE}.logs_python:parse_sympy",
        "parse_log_gotest": f"{_HERE}.logs_by_line:GOTEST",
        "parse_log_cargo": f"{_HERE}.logs_by_line:CARGO",
        "parse_log_redis": f"{_HERE}.logs_by_line:REDIS",
        "parse_log_jq": f"{_HERE}.logs_by_line:JQ",
        "parse_log_micropython_test": f"{_HERE}.logs_by_line:MICROPYTHON",
        "parse_log_googletest": f"{_HERE}.logs_by_line:GOOGLETEST",
        "parse_log_ant": f"{_HERE}.logs_by_line:ANT",
        "parse_log_minitest": f"{_HERE}.logs_by_line:MINITEST",
        "parse_log_cucumber": f"{_HERE}.logs_by_line:CUCUMBER",
        "parse_log_ruby_unit": f"{_HERE}.logs_by_line:RUBY_UNIT",
        "parse_log_rspec_transformed_json": f"{_HERE}.logs_by_line:RSPEC",
        "parse_log_tap": f"{_HERE}.logs_by_line:TAP",
        "parse_log_jest": f"{_HERE}.logs_by_line:JEST",
        "parse_log_jest_json": f"{_HERE}.logs_by_line:JEST_JSON",
        "parse_log_vitest": f"{_HERE}.logs_by_line:VITEST",
        "parse_log_phpunit": f"{_HERE}.logs_by_line:parse_phpunit",
        "parse_log_maven": f"{_HERE}.logs_java:parse_maven",
        "parse_log_gradle_custom": f"{_HERE}.logs_java:parse_gradle",
        "parse_log_doctest": f"{_HERE}.logs_java:parse_doctest",
        "parse_log_carbon": _FILES,
        "parse_log_react_pdf": _FILES,
        "parse_log_grommet": f"{_HERE}.logs_javascript:parse_grommet",
        "parse_log_eslint": f"{_HERE}.logs_javascript:parse_eslint",
        "parse_log_marked": f"{_HERE}.logs_javascript:parse_marked",
        "parse_log_chart_js": f"{_HERE}.logs_javascript:parse_chart",
        "parse_log_bpmn_js": f"{_HERE}.logs_javascript:parse_bpmn",
        "parse_log_openlayers": f"{_HERE}.logs_javascript:parse_openlayers",
        "parse_log_prismjs": f"{_HERE}.logs_javascript:parse_prism",
        "parse_log_p5js": f"{_HERE}.logs_javascript:parse_p5",
        "parse_log_calypso": f"{_HERE}.logs_suites:parse_calypso",
        "parse_log_highlightjs": f"{_HERE}.logs_suites:parse_highlight",
        "parse_log_karma": f"{_HERE}.logs_suites:parse_karma",
        "parse_log_quarto_cli": f"{_HERE}.logs_suites:parse_quarto",
        # These depend on the instance or its version, which `parse_log` takes.
        "parse_log_next": f"{_HERE}.logs_suites:parse_next",
        "parse_log_lighthouse": f"{_HERE}.logs_suites:parse_lighthouse",
        "parse_log_jekyll": f"{_HERE}.logs_by_line:parse_jekyll",
        "parse_log_immutable_js": f"{_HERE}.logs_by_line:parse_immutable",
    },
)

_TAKE_VERSION = frozenset({"parse_log_next", "parse_log_lighthouse"})
_TAKE_ID = frozenset({"parse_log_jekyll", "parse_log_immutable_js"})

REPOSITORIES = {
    "astropy/astropy": "parse_log_astropy",
    "django/django": "parse_log_django",
    "marshmallow-code/marshmallow": "parse_log_marshmallow",
    "matplotlib/matplotlib": "parse_log_matplotlib",
    "mwaskom/seaborn": "parse_log_seaborn",
    "pallets/flask": "parse_log_flask",
    "psf/requests": "parse_log_requests",
    "pvlib/pvlib-python": "parse_log_pvlib",
    "pydata/xarray": "parse_log_xarray",
    "pydicom/pydicom": "parse_log_pydicom",
    "pylint-dev/astroid": "parse_log_astroid",
    "pylint-dev/pylint": "parse_log_pylint",
    "pyvista/pyvista": "parse_log_pyvista",
    "scikit-learn/scikit-learn": "parse_log_scikit",
    "sphinx-doc/sphinx": "parse_log_sphinx",
    "sqlfluff/sqlfluff": "parse_log_sqlfluff",
    "sympy/sympy": "parse_log_sympy",
}


def parser_of(repo: str) -> str:
    """The name of the parser for a repository's log; pytest's where it is not known to have another."""
    return REPOSITORIES.get(repo, "parse_log_pytest")


def parse_log(name: str, log: str, *, instance_id: str = "", version: str = "") -> Statuses:
    """The statuses in a log.

    Raises `UnknownNameError` for a name without a parser, `TaskError` for an instance that the parser does not know,
    and `RewardError` for a log that it finds broken: JSON or XML that does not end, say.
    """
    parser = PARSERS.load(name)
    about = [version] if name in _TAKE_VERSION else [instance_id] if name in _TAKE_ID else []
    try:
        found: Statuses = parser(log, *about)
    except TaskError:
        raise
    except (ValueError, LookupError, TypeError, SyntaxError, RecursionError) as error:
        raise RewardError(f"{name} cannot read the log: {error}") from error
    return found
