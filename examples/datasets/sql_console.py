# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Text to SQL on GeoQuery with a console: a chat model may run queries before it answers with one. A conversation, whose
calls have the form of the model's chat template:

    system: Look into the tables with the tool query. ...
            Tables: border_info(state_name, border); city(...); ...
    user: which rivers flow through ohio
    assistant: query(sql: SELECT * FROM river WHERE river_name = 'ohio')
    tool: ohio | 1569 | usa | pennsylvania
          ...
    assistant: submit(sql: SELECT river_name FROM river WHERE traverse = 'ohio')
    tool: Submitted.
    assistant: Done.

The reward is 1.0 if the submitted query returns what the reference query does. The environment shows the way as a
hint: " The query is: SELECT ...", for the problems that the model does not solve without it.

```bash
git clone https://github.com/jkkummerfeld/text2sql-data  # data/geography*.json and .sqlite are what is read
python examples/datasets/sql_console.py --output_dir runs/sql-console --data_dir text2sql-data/data

# A chat model that was not made for tools: TRL's chat template shows them, and example conversations how to call them
python examples/datasets/sql_console.py --output_dir runs/sql-console-smollm2 --data_dir text2sql-data/data \
    --model_name_or_path HuggingFaceTB/SmolLM2-135M-Instruct --chat_template_kwargs '{}' --few_shot --p_show_hint 0.3 \
    --chat_template_path "$(python -c 'import trl; print(trl.__path__[0])')/chat_templates/qwen3_instruct_2507.jinja"
```

The problems are those of `text_to_sql.py`.
"""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from trl import ModelConfig, TrlParser

import text_to_sql
from domain import DEFAULTS
from paper_runs import model_arguments
from star_trl import (
    EnvironmentSampler,
    RationaleSampler,
    RationalizationSampler,
    Sampler,
    STaRConfig,
    STaRTrainer,
    has_run,
)
from star_trl.rewards import first_sql_rows, sql_execution_reward


INSTRUCTION = (
    "Look into the tables with the tool query. Then submit the one query that answers the question, with the tool "
    "submit, and say that you are done."
)
# What the model sees of a result. Every row costs tokens of the conversation.
NUM_ROWS, NUM_CHARACTERS = 10, 1000
# Seconds of one query. All conversations share the process that runs queries, so they wait for each other.
TIMEOUT = 1.0

# Questions and queries of the example conversations
EXAMPLES = {
    "what is the length of the ohio river": (
        "SELECT RIVER0.LENGTH FROM RIVER AS RIVER0 WHERE RIVER0.RIVER_NAME = 'ohio'"
    ),
    "how many states border texas": (
        "SELECT COUNT( BORDER_INFO0.BORDER ) FROM BORDER_INFO AS BORDER_INFO0 WHERE BORDER_INFO0.STATE_NAME = 'texas'"
    ),
    "which state has the smallest population": (
        "SELECT STATE0.STATE_NAME FROM STATE AS STATE0 WHERE STATE0.POPULATION = "
        "( SELECT MIN( STATE1.POPULATION ) FROM STATE AS STATE1 )"
    ),
}

# Those of the other examples, except for their two reward functions.
CONSOLE_DEFAULTS = {
    **{name: value for name, value in DEFAULTS.items() if not name.startswith("reward_")},
    "model_name_or_path": "Qwen/Qwen3-0.6B",
    "chat_template_kwargs": '{"enable_thinking": false}',
    "max_completion_length": 1024,
    "max_tool_calling_iterations": 8,
}


@dataclass(kw_only=True)
class ConsoleArguments:
    """
    Arguments of the example, besides those of [`~star_trl.STaRConfig`] and [`~trl.ModelConfig`].

    Args:
        data_dir (`str`):
            Folder with `geography.json` and `geography.sqlite`.
        max_train_problems (`int`, *optional*), max_eval_problems (`int`, *optional*):
            Number of problems to use, from the first one on. All by default.
        few_shot (`bool`, *optional*, defaults to `False`):
            Whether example conversations precede the question, for models that were not made for tools.
        p_show_hint (`float`, *optional*, defaults to `0.0`):
            Share of the rationalized samples that are trained on with the hint left in.
    """

    data_dir: str = field(metadata={"help": "Folder with geography.json and geography.sqlite."})
    max_train_problems: int | None = field(default=None, metadata={"help": "Train on the first ones only."})
    max_eval_problems: int | None = field(default=None, metadata={"help": "Evaluate on the first ones only."})
    few_shot: bool = field(default=False, metadata={"help": "Show example conversations before the question."})
    p_show_hint: float = field(default=0.0, metadata={"help": "Share of rationalized samples trained with the hint."})


class SqlConsole:
    """The console of a problem. It ends with the first query that is submitted and runs."""

    def reset(self, answer: str, database: str, hint: bool = False, **kwargs: Any) -> str | None:
        self._reference, self._database = answer, database
        self._submitted: str | None = None
        # The query itself: a model that knew its result could submit that as a constant.
        return f" The query is: {answer}" if hint else None

    def query(self, sql: str) -> str:
        """
        Runs a query and shows the first rows of its result.

        Args:
            sql: One SELECT of SQLite.

        Returns:
            The rows, with the values of a row between bars.
        """
        return show(self._run(sql))

    def submit(self, sql: str) -> str:
        """
        Submits the query that answers the question. The first query that runs counts.

        Args:
            sql: One SELECT of SQLite.

        Returns:
            That the query was submitted.
        """
        self._run(sql)
        self._submitted = sql
        return "Submitted."

    def get_reward(self) -> float | None:
        if self._submitted is None:
            return 0.0
        answer = f"```sql\n{self._submitted}\n```"
        return sql_execution_reward([answer], [self._reference], self._database)[0]

    def _run(self, sql: str) -> list[tuple]:
        if self._submitted is not None:
            raise ValueError("A query has been submitted. Say that you are done.")
        return first_sql_rows(sql, self._database, NUM_ROWS + 1, TIMEOUT)


def show(rows: list[tuple]) -> str:
    """Returns the first rows as text."""
    lines = [" | ".join("NULL" if value is None else str(value) for value in row) for row in rows[:NUM_ROWS]]
    # Bytes that are no text are replaced: a tokenizer does not take them.
    text = ("\n".join(lines) or "No rows.").encode(errors="replace").decode()
    if len(text) > NUM_CHARACTERS:
        return f"{text[:NUM_CHARACTERS]} ..."
    return f"{text}\n..." if len(rows) > NUM_ROWS else text


def load(split: str, data_dir: str, limit: int | None = None) -> Dataset:
    """Loads the problems of `text_to_sql.py` for a chat model, without the hints, which the environment gives."""
    rows = []
    for row in text_to_sql.load(split, data_dir)[:limit]:
        question, _, tables = row["prompt"].removeprefix("Q: ").removesuffix("\nA:").partition("\n")
        messages = [{"role": "system", "content": f"{INSTRUCTION}\n\n{tables}"}, {"role": "user", "content": question}]
        rows.append({"prompt": messages, "answer": row["answer"], "database": row["database"]})
    return Dataset.from_list(rows)


def make_examples(database: str) -> list[dict[str, Any]]:
    """Returns conversations in which a query is tried before it is submitted, without a hint and with it."""
    console, examples = SqlConsole(), []
    for question, sql in EXAMPLES.items():
        hint, turns = console.reset(sql, database, hint=True) or "", []
        for tool in (console.query, console.submit):
            name = tool.__name__
            call = {"type": "function", "function": {"name": name, "arguments": {"sql": sql}}}
            turns += [{"role": "assistant", "content": "", "tool_calls": [call]}]
            turns += [{"role": "tool", "name": name, "content": tool(sql)}]
        prompts = {"prompt": question, "hinted_prompt": question + hint}
        examples.append(
            {
                **{column: [{"role": "user", "content": text}] for column, text in prompts.items()},
                "completion": [*turns, {"role": "assistant", "content": "Done."}],
            }
        )
    return examples


def make_samplers(p_show_hint: float, **limits: Any) -> list[Sampler]:
    """Returns a sampler without a hint, and one with the query as a hint for the problems that the first one fails."""
    hinted = RationalizationSampler(p_show_hint=p_show_hint)
    return [
        EnvironmentSampler(RationaleSampler(), SqlConsole, **limits),
        EnvironmentSampler(hinted, SqlConsole, hint=True, **limits),
    ]


def main() -> None:
    parser = TrlParser([ConsoleArguments, STaRConfig, ModelConfig])
    parser.set_defaults(**CONSOLE_DEFAULTS)
    args, star_args, model_args = parser.parse_args_and_config()
    train_dataset = load("train", args.data_dir, args.max_train_problems)
    trainer = STaRTrainer(
        args=star_args,
        samplers=make_samplers(args.p_show_hint, max_turns=star_args.max_tool_calling_iterations),
        few_shot_examples=make_examples(train_dataset[0]["database"]) if args.few_shot else None,
        train_dataset=train_dataset,
        eval_dataset=load("eval", args.data_dir, args.max_eval_problems),
        **model_arguments(star_args, star_args, model_args),
    )
    metrics = trainer.train(resume_from_checkpoint=has_run(star_args.output_dir)).metrics
    if trainer.is_world_process_zero():
        print(f"right on held-out questions: {metrics['eval_accuracy']:.1%}")


if __name__ == "__main__":
    main()
