"""Runs in an environment of its own: answers, a line of JSON for a line of JSON, what swebench makes of a log."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any


def answer(question: dict[str, Any]) -> Any:
    from swebench.harness.grading import get_eval_report
    from swebench.harness.log_parsers import PARSER_REGISTRY
    from swebench.harness.utils import make_test_spec

    if question["ask"] == "names":
        return sorted(PARSER_REGISTRY)
    if question["ask"] == "predictions":
        return predicted(question["path"], question["rows"])
    spec = make_test_spec(question["row"])
    if question["ask"] == "parse":
        return PARSER_REGISTRY[spec.log_parser](question["log"], spec)
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(question["log"].encode("utf-8", "surrogatepass"))
        file.flush()
        prediction = {"instance_id": spec.instance_id, "model_patch": question["patch"], "model_name_or_path": "x"}
        return get_eval_report(spec, prediction, file.name, include_tests_status=True)


def predicted(path: str, rows: str) -> list[str]:
    """The instances of a file of rows that ``swebench eval`` would run for a file of predictions."""
    from swebench.harness.run_evaluation import get_dataset_from_preds
    from swebench.harness.utils import get_predictions_from_file

    found = {each["instance_id"]: each for each in get_predictions_from_file(path, rows, "test")}
    return sorted(each["instance_id"] for each in get_dataset_from_preds(rows, "test", [], found, "run", False))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # some parsers print
    sys.stdout = sys.stderr
    for line in sys.stdin:
        try:
            reply = {"answer": answer(json.loads(line))}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
