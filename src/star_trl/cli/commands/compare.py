# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl compare`."""

import sys
import tempfile
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from ...comparison import (
    Comparison,
    EndpointJudge,
    compare_results,
    judge_comparison,
    pick_questions,
    read_results,
    write_comparison,
)
from ...output_dir import write_json
from ..errors import UsageError
from ..parser import StarParser


EXAMPLE = "`star-trl compare runs/gsm8k@0 runs/gsm8k --output_file compare.html`"


@dataclass
class CompareArguments:
    """
    Arguments of `star-trl compare`. The sources stand before them.

    Args:
        output_file (`str`, *optional*):
            File to write: the page (`compare.html` by default), or the results of a judge (`judge.json` by default).
            With `results`, their statistics as JSON, which are printed in any case.
        ledger (`str`, *optional*, defaults to `"eval"`):
            Problems that are compared: `"eval"`, `"eval_<name>"`, or `"samples"` for the training problems.
        num_questions (`int`, *optional*, defaults to `50`):
            Maximum number of questions.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draw of the questions and of the order of the rationales.
        judge (`str`, *optional*):
            Address of an endpoint with OpenAI's interface, whose model compares the rationales.
        judge_model (`str`, *optional*):
            Name of this model.
        results (`list[str]`, *optional*):
            Files of results to compute the ranking from.
    """

    output_file: str | None = field(
        default=None, metadata={"help": "The page (.html), or the results of a judge or their statistics (.json)."}
    )
    ledger: str = field(
        default="eval",
        metadata={"help": "Problems that are compared: eval, eval_<name>, or samples for the training problems."},
    )
    num_questions: int = field(default=50, metadata={"help": "Maximum number of questions."})
    seed: int = field(default=0, metadata={"help": "Seed of the questions and of the order of the rationales."})
    judge: str | None = field(
        default=None, metadata={"help": "Endpoint with OpenAI's interface whose model compares, in place of a person."}
    )
    judge_model: str | None = field(default=None, metadata={"help": "Name of the model behind this endpoint."})
    results: list[str] | None = field(
        default=None, metadata={"help": "Results of raters (.json), to compute the ranking from."}
    )


def main(argv: list[str]) -> None:
    """Writes the page of a comparison, lets a model judge it, or computes the ranking from results."""
    sources = list(takewhile(lambda arg: not arg.startswith("-"), argv))
    parser = StarParser([CompareArguments], prog="star-trl compare", launched=False)
    parser.usage = "star-trl compare RUN[@ITERATION] RUN_OR_FILE ... [options], or star-trl compare --results FILE ..."
    (args,), _ = parser.parse(argv[len(sources) :])
    if (args.judge is None) != (args.judge_model is None):
        raise UsageError("`judge` is the address of an endpoint and `judge_model` its model. Give both, or neither.")
    if bool(sources) == (args.results is not None):
        raise UsageError(
            f"`star-trl compare` needs either sources, before all options, or `--results`. {EXAMPLE} writes the page, "
            "and `star-trl compare --results ranking-*.json` computes the ranking."
        )
    try:
        if args.results is not None:
            report = compare_results([read_results(path) for path in args.results])
            sys.stdout.write(_format(report))
            if args.output_file is not None:
                write_json(Path(args.output_file), report)
            return
        comparison = pick_questions(sources, args.num_questions, args.seed, args.ledger)
        drawn = f"{len(comparison.questions)} of {comparison.num_common} questions that all answer rightly"
        alike = f", of which {comparison.num_alike} have the same rationales" if comparison.num_alike else ""
        if args.judge is None:
            path = write_comparison(comparison, args.output_file or "compare.html")
        else:
            path = Path(args.output_file or "judge.json")
            found = _judge(comparison, EndpointJudge(args.judge, args.judge_model), args.judge_model, path)
            alike += (
                f"; the order decided {found['order_decided']} pairs, which are ties, and {found['without_verdict']} "
                "answers had no verdict, whose pairs are left out"
            )
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(f"{drawn}{alike}: {path}\n")


def _judge(comparison: Comparison, judge: EndpointJudge, rater: str, path: Path) -> dict[str, Any]:
    """Judges a comparison, and writes the verdicts after each question, so that a later error does not lose them."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"The verdicts cannot be written to {path} ({error}). Give a file in a folder that you may write to as "
            "`output_file`."
        ) from error
    written = 0

    def write(found: dict[str, Any]) -> None:
        nonlocal written
        write_json(path, found)
        written = len(found["questions"])

    try:
        return judge_comparison(comparison, judge, rater, write)
    except (OSError, ValueError) as error:
        if not written:
            raise
        raise UsageError(
            f"{error} {path} holds the verdicts on {written} of {len(comparison.questions)} questions."
        ) from error


def _format(report: dict[str, Any]) -> str:
    """Returns the statistics as text."""
    lines = [f"{report['questions']} questions, raters: {', '.join(map(_one_line, report['raters']))}", ""]
    lines += ["mean rank (95% interval), share of comparisons won"]
    for row in report["sources"]:
        low, high = row["mean_rank_interval"]
        lines.append(
            f"  {row['mean_rank']:.2f} ({low:.2f} to {high:.2f})  {row['score']:6.1%}  {_one_line(row['source'])}"
        )
    lines.append("")
    for row in report["pairs"]:
        better = row["share"] >= 0.5
        first, second = (row["first"], row["second"]) if better else (row["second"], row["first"])
        wins, losses = (row["first_wins"], row["second_wins"]) if better else (row["second_wins"], row["first_wins"])
        share = max(row["share"], 1 - row["share"])
        ends = row["share_interval"] if better else [1 - end for end in reversed(row["share_interval"])]
        more = "always" if share == 1 else f"{share / (1 - share) - 1:.0%} more likely"
        lines += [
            f"{_one_line(first)} preferred over {_one_line(second)}: {more} (p = {row['p']:.3g})",
            f"  share {share:.1%} (95% interval {ends[0]:.1%} to {ends[1]:.1%}); {wins} wins, {row['ties']} ties, "
            f"{losses} losses in {row['rankings']} rankings of {row['questions']} questions",
        ]
    alpha = report["agreement"]
    lines += [
        "",
        f"agreement of the raters (Krippendorff's alpha): {'not measured' if alpha is None else f'{alpha:.2f}'}",
    ]
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """Returns a text of a file of results without control characters, for the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
