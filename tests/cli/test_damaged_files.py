# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl report` and `star-trl export` end with a message, whatever is in the files of a run."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from star_trl.cli.commands import export, report
from star_trl.cli.errors import UsageError
from star_trl.run.state import CannotResume, RunState
from support.sums import solve_easy_and_hinted


OTHER_VALUES = [None, 1, "x", [1], {"a": 1}, 10**400]


def test_json_of_another_shape(make_trainer, problems, tmp_path):
    """Every value of the files that the commands read, down to the second level."""
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems)
    trainer.train()
    output_dir = Path(trainer.args.output_dir)
    refused = 0
    for name in ("star_state.json", "prompts.json", "iteration-001/metrics.json", "iteration-001/rationales.json"):
        path = output_dir / name
        text = path.read_text()

        def changed(text=text):
            for key, value in json.loads(text).items():
                for other in OTHER_VALUES:
                    yield {**json.loads(text), key: other}
                if isinstance(value, dict) and key != "settings":
                    for inner in value:
                        for other in ("x", [1]):
                            yield {**json.loads(text), key: {**value, inner: other}}

        for content in [[], 1, None, {}, *changed()]:
            path.write_text(json.dumps(content))
            for command in (report, export) if name == "star_state.json" else (report,):
                more = [] if command is report else ["--output_file", str(tmp_path / "sft.jsonl")]
                try:
                    command.main(["--output_dir", str(output_dir), *more])
                except UsageError as error:
                    assert name in str(error), (content, error)
                    refused += 1
            if name == "star_state.json":
                with suppress(CannotResume):
                    RunState.load(output_dir)
        path.write_text(text)
    assert refused > 50


def test_files_that_cannot_be_written(make_trainer, tmp_path):
    """As on a disk that is read only. The superuser, as whom tests may run, can write everywhere else."""
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    output_dir = tmp_path / "out"
    (output_dir / "report.tmp").mkdir()
    with pytest.raises(UsageError, match="report.tmp"):
        report.main(["--output_dir", str(output_dir)])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        export.main(["--output_dir", str(output_dir), "--output_file", str(tmp_path / "file" / "sft.jsonl")])
