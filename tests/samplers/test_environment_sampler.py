# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tools, environments and rollout functions as `GRPOTrainer` takes them."""

import asyncio
import json
import re
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from datasets import Dataset

from star_trl import EnvironmentSampler, RationaleSampler, RolloutSampler, Tool, ToolSampler
from star_trl.fine_tuning.sequences import sampling_prompts, training_sequences
from star_trl.rewards import exact_match_reward
from star_trl.samplers import mixture
from star_trl.tools import caller as caller_module
from star_trl.tools.caller import Caller, OutOfTime, Worker
from support.tiny_models import build_chat_tokenizer, build_model


def multiply(a: int, b: int) -> int:
    """
    Multiplies two integers.

    Args:
        a: The first integer.
        b: The second integer.

    Returns:
        The product of the two integers.
    """
    return a * b


def broken(a: int) -> int:
    """
    Always fails.

    Args:
        a: An integer.

    Returns:
        Nothing.
    """
    raise KeyError(f"no {a}")


class Door:
    """Opens with the key of the problem, which is in the hint. The wrong key closes it for good."""

    def reset(self, key: str, hint: bool = False, **kwargs) -> str:
        self.key, self.is_open = key, False
        return " A door." + (f" Key: {key}." if hint else "")

    def open(self, key: str) -> str:
        """
        Opens the door.

        Args:
            key: The key.

        Returns:
            What happens.
        """
        self.is_open = key == self.key
        return "open" if self.is_open else "closed"

    def get_reward(self) -> float:
        return float(self.is_open)


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def products():
    rows = [
        {"prompt": [{"role": "user", "content": f"{a} * {b}?"}], "answer": str(a * b)} for a, b in [(2, 3), (4, 5)]
    ]
    return Dataset.from_list(rows)


def doors(keys="ab"):
    rows = [{"prompt": [{"role": "user", "content": "Leave."}], "key": key} for key in keys]
    return Dataset.from_list(rows)


def asks(prompt):
    """The messages of a conversation that the scripted engine sees, without the role of each."""
    return [turn.partition("\n")[2] for turn in prompt.split("<|im_start|>")]


def multiplies(prompt):
    question, *later = prompt.split("<|im_start|>user\n")[1:]
    if later:
        return later[-1].split("<tool_response>\n")[1].split("\n")[0]
    a, b = question.split("?")[0].split(" * ")
    return call("multiply", a=int(a), b=int(b))


def opens(prompt):
    """Tries the key of the hint, or "a"."""
    question, *later = prompt.split("<|im_start|>user\n")[1:]
    if later:
        return "Done."
    return call("open", key=question.split("Key: ")[1][0] if "Key: " in question else "a")


@pytest.fixture
def make_agent(make_trainer):
    tokenizer = build_chat_tokenizer()

    def make(answer, **changes):
        return make_trainer(
            answer,
            **{
                "processing_class": tokenizer,
                "model": build_model(tokenizer, max_position_embeddings=4096),
                "few_shot_examples": None,
                "stop_strings": None,
                "max_completion_length": 400,
                "num_iterations": 1,
                **changes,
            },
        )

    return make


def trained_text(trainer, sample):
    (row,) = training_sequences([sample], trainer.task, trainer.args)
    tokenizer = trainer.processing_class
    return tokenizer.decode(row["input_ids"]), tokenizer.decode([label for label in row["labels"] if label != -100])


def test_a_tool_is_called_and_its_result_carries_no_loss(make_agent):
    trainer = make_agent(multiplies, tools=[multiply], train_dataset=products(), eval_dataset=products())
    trainer.train()
    samples = trainer.ledger.read(1)
    assert [sample.kept for sample in samples] == [True, True]
    assert [message["role"] for message in samples[0].extra["messages"]] == ["assistant", "tool", "assistant"]
    (called,) = samples[0].extra["messages"][0]["tool_calls"]
    assert called["function"] == {"name": "multiply", "arguments": {"a": 2, "b": 3}}
    assert samples[0].extra["messages"][1] == {"role": "tool", "name": "multiply", "content": "6"}
    whole, trained = trained_text(trainer, samples[0])
    assert '"name": "multiply"' in whole.split("<|im_start|>user")[0]  # the template shows the tool
    assert "<tool_response>\n6\n</tool_response>" in whole
    assert trained == f"{call('multiply', a=2, b=3)}<|im_end|>6<|im_end|>"
    assert trainer.outer_run.history[-1]["eval_accuracy"] == 1.0
    assert "called a tool while it generated" in (Path(trainer.args.output_dir) / "README.md").read_text()


def test_the_sequence_is_that_of_the_chat_template(make_agent):
    trainer = make_agent(multiplies, tools=[multiply], train_dataset=products())
    sample = trainer.sample(1)[0]
    messages = [*products()[0]["prompt"], *sample.extra["messages"]]
    expected = trainer.processing_class.apply_chat_template(
        messages, tools=[multiply], tokenize=False, **trainer.task.prompt_builder.chat_template_kwargs
    )
    whole = trained_text(trainer, sample)[0]
    # What the template writes before a turn of the past is another thing than before a new one.
    assert whole.split("<|im_start|>user\n<tool_response>")[1].split("<|im_end|>")[0] in expected


def test_a_reward_function_sees_every_turn_and_the_environments(make_agent):
    seen = {}

    def reward(prompts, completions, environments, **kwargs):
        seen.update(prompts=prompts, completions=completions)
        return [float(environment.is_open) for environment in environments]

    trainer = make_agent(
        opens, environment_factory=Door, reward_funcs=[reward], reward_threshold=2, train_dataset=doors()
    )
    samples = [sample for sample in trainer.sample(1) if sample.sampler == "rationale"]
    assert samples[0].rewards == {"reward": 1.0, "Door": 1.0} and samples[0].reward == 2.0
    assert [sample.kept for sample in samples] == [True, False]
    assert seen["prompts"][0][-1]["content"] == "Leave. A door."
    assert [message["role"] for message in seen["completions"][0]] == ["assistant", "tool", "assistant"]


def test_the_environment_shows_the_way_and_the_model_is_trained_without(make_agent):
    trainer = make_agent(
        opens, environment_factory=Door, reward_funcs=None, train_dataset=doors(), eval_dataset=doors()
    )
    trainer.train()
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    assert {key: sample.kept for key, sample in samples.items()} == {
        ("rationale", 0): True,
        ("rationale", 1): False,
        ("rationalization", 1): True,
    }
    hinted = samples["rationalization", 1]
    assert "Key: b." in json.loads(hinted.extra["hinted_prompt"])[-1]["content"]
    assert any("A door. Key: b." in prompt for prompt in trainer.engine.prompts)
    whole, trained = trained_text(trainer, hinted)
    assert "Leave. A door.<|im_end|>" in whole and "Key: " not in whole
    assert trained.startswith(call("open", key="b"))
    assert trainer.outer_run.history[-1]["eval_accuracy"] == 0.5
    assert not trainer.task.samplers[1].on_policy


def test_rows_with_the_same_prompt_are_different_problems(make_agent, caplog):
    make_agent(
        opens, environment_factory=Door, reward_funcs=None, train_dataset=doors("abcd"), eval_dataset=doors("ef")
    )
    assert "repeat an earlier one" not in caplog.text and "are in `train_dataset`" not in caplog.text
    make_agent(opens, environment_factory=Door, reward_funcs=None, train_dataset=doors("aa"), eval_dataset=doors("a"))
    assert "repeat an earlier one: row 1" in caplog.text
    assert "1 of the 1 problems of `eval_dataset` are in `train_dataset`" in caplog.text


def test_a_hint_that_stays_is_in_the_training_prompt(make_agent):
    from star_trl import RationalizationSampler

    hinting = EnvironmentSampler(RationalizationSampler(p_show_hint=1.0), Door, hint=True)
    trainer = make_agent(opens, samplers=[hinting], reward_funcs=None, train_dataset=doors("b"))
    (sample,) = trainer.sample(1)
    assert sample.hint_shown and "A door. Key: b.<|im_end|>" in trained_text(trainer, sample)[0]


def door_example(**prompts):
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": OPEN_C}]},
        {"role": "tool", "name": "open", "content": "open"},
        {"role": "assistant", "content": "Done."},
    ]
    texts = {"prompt": "Leave. A door.", **prompts}
    return {**{name: [{"role": "user", "content": text}] for name, text in texts.items()}, "completion": turns}


def test_hints_of_examples_are_conversations_too(make_agent):
    example = {**door_example(), "hinted_prompt": "Leave. A door. Key: c."}
    settings = {"environment_factory": Door, "reward_funcs": None, "train_dataset": doors()}
    with pytest.raises(ValueError, match="differ in kind"):
        make_agent(opens, few_shot_examples=[example], **settings)


def test_the_prompts_that_samples_were_drawn_with_have_the_hint(make_agent):
    """Importance ratios compare with them."""
    trainer = make_agent(opens, environment_factory=Door, reward_funcs=None, train_dataset=doors("b"))
    samples = trainer.sample(1)
    prompts = sampling_prompts(samples, trainer.task, trainer.args)
    texts = [trainer.processing_class.decode(ids) for ids in prompts]
    assert [(sample.sampler, "Key: b" in text) for sample, text in zip(samples, texts, strict=True)] == [
        ("rationale", False),
        ("rationalization", True),
    ]


OPEN_C = {"name": "open", "arguments": {"key": "c"}}


def test_few_shot_conversations_have_hints_where_the_prompt_has_one(make_agent):
    from star_trl import RationaleSampler, RationalizationSampler

    def opens_the_second(prompt):
        """As `opens`, behind the question, the result and the last turn of an example."""
        return opens("<|im_start|>user\n".join(["", *prompt.split("<|im_start|>user\n")[3:]]))

    trainer = make_agent(
        opens_the_second,
        samplers=[
            EnvironmentSampler(RationaleSampler(), Door),
            EnvironmentSampler(RationalizationSampler(p_show_hint=1.0), Door, hint=True),
        ],
        few_shot_examples=[door_example(hinted_prompt="Leave. A door. Key: c.")],
        few_shot_train=True,
        reward_funcs=None,
        train_dataset=doors(),
    )
    plain, hinted = sorted((sample for sample in trainer.sample(1) if sample.kept), key=lambda each: each.problem_id)
    for sample, shown, hints in ((plain, False, ["", ""]), (hinted, True, [" Key: c.", " Key: b."])):
        whole, trained = trained_text(trainer, sample)
        assert sample.hint_shown == shown and trained.startswith(call("open", key="b" if shown else "a"))
        for text in (whole, next(prompt for prompt in trainer.engine.prompts if whole.startswith(prompt))):
            assert re.findall(r"Leave\. A door\.([^<]*)<", text) == hints
            assert "<tool_response>\nopen\n</tool_response>" in text


def test_few_shot_conversations_without_hints_precede_a_hint_of_the_environment(make_agent):
    trainer = make_agent(
        lambda prompt: "Done.",
        environment_factory=Door,
        few_shot_examples=[door_example()],
        reward_funcs=None,
        train_dataset=doors("b"),
    )
    trainer.sample(1)
    assert "A door. Key: b.<|im_end|>" in trainer.engine.prompts[-1]
    assert trainer.engine.prompts[-1].count("Key: ") == 1


def test_a_hint_for_another_task_is_a_failed_sample(make_agent):
    class Random(Door):
        def reset(self, key, hint=False, **kwargs):
            return f" Door {id(object())} {hint}." if hint else " Door 1."

    trainer = make_agent(opens, environment_factory=Random, reward_funcs=None, train_dataset=doors("b"))
    sample = trainer.sample(1)[-1]
    assert sample.sampler == "rationalization" and sample.drop_reason == "error"
    assert "must make the same task from the same row" in sample.extra["error"]


def test_errors_of_tools_go_back_to_the_model(make_agent):
    def answer(prompt):
        turns = prompt.count("<tool_response>")
        return [call("broken", a=7), call("nothing"), call("multiply", a=1), "0"][turns]

    trainer = make_agent(answer, tools=[multiply, broken], train_dataset=products(), max_completion_length=800)
    sample = trainer.sample(1)[0]
    results = [message["content"] for message in sample.extra["messages"] if message["role"] == "tool"]
    assert results[:2] == [str({"error": "'no 7'"}), str({"error": "Tool nothing not found."})]
    assert "missing 1 required positional argument" in results[2]
    assert (sample.drop_reason, sample.extra["tool_calls"], sample.extra["tool_failures"]) == ("wrong", 3, 3)


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>\n{"name": ["multiply"], "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "multiply", "arguments": "2, 3"}\n</tool_call>',
        '<tool_call>\n{"name": "multiply", "arguments": {"self": 1, "func": 2}}\n</tool_call>',
        "<tool_call>\n[1, 2]\n</tool_call>",
        "<tool_call>\n{\n</tool_call>",
        "<tool_call>",
        "</tool_call></think><tool_response>6</tool_response>",
        "<|im_start|>user\n<tool_response>\n6\n</tool_response>",
    ],
)
def test_a_malformed_call_does_not_end_the_run(make_agent, written):
    trainer = make_agent(
        lambda prompt: "5" if "<tool_response>\n{" in prompt else written, tools=[multiply], train_dataset=products()
    )
    assert {sample.drop_reason for sample in trainer.sample(1)} == {"wrong"}


class Faulty(Door):
    """Fails as its problem says."""

    released = threading.Event()

    def reset(self, fault, **kwargs):
        self.fault = fault
        if fault == "reset":
            raise ValueError("no room")
        if fault == "reset says nothing":
            raise Unspeakable
        if fault == "text":
            return " \ud800"  # a lone surrogate, which no tokenizer takes
        if fault == "parts":
            return [{"type": "text", "text": " A door."}, {"type": "text", "text": " \ud800"}]

    def open(self, key: str) -> str:
        """
        Opens the door.

        Args:
            key: The key.

        Returns:
            What happens.
        """
        if self.fault == "hangs":
            Faulty.released.wait(60)
        return "open"

    def get_reward(self):
        if self.fault == "reward":
            raise RuntimeError("no judge")
        if self.fault == "reward says nothing":
            raise Unspeakable
        return {"infinite": float("inf"), "NaN": float("nan")}.get(self.fault, 1.0)


class Unspeakable(Exception):
    def __str__(self):
        raise OSError("no text")

    __repr__ = __str__


def test_an_environment_that_hangs_or_raises_is_a_failed_sample(make_agent):
    faults = ["reset", "hangs", "reward", "none"]
    problems = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": "Go."}], "fault": fault} for fault in faults]
    )
    sampler = EnvironmentSampler(RationaleSampler(), Faulty, timeout=0.5)
    trainer = make_agent(opens, samplers=[sampler], reward_funcs=None, train_dataset=problems)
    trainer.train()
    Faulty.released.set()
    samples = trainer.ledger.read(1)
    assert [sample.drop_reason for sample in samples] == ["error", "error", "error", None]
    errors = [sample.extra["error"] for sample in samples[:3]]
    assert (
        "no room" in errors[0] and "`open` gave no answer within 0.5 seconds" in errors[1] and "no judge" in errors[2]
    )
    assert samples[3].extra["messages"][1]["content"] == "open"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("text", "reset: ValueError('`reset` returned a text that UTF-8 cannot hold: surrogates not allowed at"),
        ("parts", "reset: ValueError('`reset` returned a text that UTF-8 cannot hold: surrogates not allowed at"),
        ("reset says nothing", "reset: Unspeakable"),
        ("reward says nothing", "get_reward: Unspeakable"),
        ("infinite", "get_reward: ValueError('it returned inf, but rewards are finite')"),
    ],
)
def test_what_an_environment_may_not_say_is_a_failed_sample(make_agent, fault, error):
    problems = doors("aa").add_column("fault", [fault, "none"])
    trainer = make_agent(opens, environment_factory=Faulty, reward_funcs=None, train_dataset=problems)
    trainer.train()
    failed, other = trainer.ledger.read(1)
    assert failed.drop_reason == "error" and failed.extra["error"].startswith(error) and other.kept


def test_an_environment_may_give_no_verdict(make_agent):
    problems = doors("aa").add_column("fault", ["NaN", "none"])
    trainer = make_agent(opens, environment_factory=Faulty, reward_funcs=None, train_dataset=problems)
    assert [sample.drop_reason for sample in trainer.sample(1)] == ["unverified", None]


def test_async_methods_run_in_one_loop(make_agent):
    loops = set()

    class Asynchronous(Door):
        async def open(self, key: str) -> str:
            """
            Opens the door.

            Args:
                key: The key.

            Returns:
                What happens.
            """
            loops.add(asyncio.get_running_loop())
            await asyncio.sleep(0)
            self.is_open = True
            return "open"

        async def get_reward(self):
            loops.add(asyncio.get_running_loop())
            return float(self.is_open)

    trainer = make_agent(opens, environment_factory=Asynchronous, reward_funcs=None, train_dataset=doors())
    assert all(sample.kept for sample in trainer.sample(1)) and len(loops) == 1


@pytest.mark.parametrize(("limit", "results"), [(0, 0), (1, 1), (None, 2)])
def test_turns_are_limited(make_agent, limit, results):
    def answer(prompt):
        return call("multiply", a=2, b=3) if prompt.count("<tool_response>") < 2 else "6"

    trainer = make_agent(
        answer, tools=[multiply], max_tool_calling_iterations=limit, train_dataset=products().select([0])
    )
    (sample,) = trainer.sample(1)
    assert [message["role"] for message in sample.extra["messages"]].count("tool") == results
    assert sample.kept == (limit is None) and sample.finish_reason == "eos"


def test_what_does_not_fit_is_cut(make_agent):
    trainer = make_agent(multiplies, tools=[multiply], train_dataset=products(), max_completion_length=100)
    samples = trainer.sample(1)
    assert {sample.drop_reason for sample in samples} == {"truncated"}
    assert all(len(sample.completion_ids) == 100 for sample in samples)


@pytest.mark.parametrize(("limit", "batch_size"), [(2, None), (3, 2)])
def test_few_environments_at_a_time_are_used_again(make_agent, limit, batch_size):
    made = []

    class Counted(Door):
        def __init__(self):
            made.append(self)

    sampler = EnvironmentSampler(RationaleSampler(), Counted, max_environments=limit)
    trainer = make_agent(
        opens, samplers=[sampler], reward_funcs=None, train_dataset=doors("aabbab"), generation_batch_size=batch_size
    )
    assert [sample.kept for sample in trainer.sample(1)] == [True, True, False, False, True, False]
    assert len(made) == limit


def test_a_column_names_the_environment(make_agent):
    class Window(Door):
        def reset(self, key, **kwargs):
            assert "environment" not in kwargs
            super().reset(key)
            return " A window."

    problems = doors("aa").add_column("environment", ["door", "window"])
    trainer = make_agent(
        opens, environment_factory={"door": Door, "window": Window}, reward_funcs=None, train_dataset=problems
    )
    samples = trainer.sample(1)
    assert [sample.rewards for sample in samples] == [{"Door": 1.0, "Window": None}, {"Door": None, "Window": 1.0}]
    assert "A window." in samples[1].prompt
    with pytest.raises(ValueError, match="`environment='gate'`, which is not among"):
        make_agent(
            opens,
            environment_factory={"door": Door},
            reward_funcs=None,
            train_dataset=doors("a").add_column("environment", ["gate"]),
        )


def test_an_environment_may_give_the_whole_prompt(make_agent):
    problems = doors("a").remove_columns("prompt").add_column("func", ["a column of any name"])
    trainer = make_agent(opens, environment_factory=Door, reward_funcs=None, train_dataset=problems)
    (sample,) = trainer.sample(1)
    assert sample.kept and json.loads(sample.prompt)[-1]["content"] == " A door."


def test_a_run_goes_on_with_the_samples_that_it_has(make_agent, tmp_path):
    class Breaks(RuntimeError):
        pass

    def stops(prompt):
        if "Key: b" in prompt:
            raise Breaks
        return opens(prompt)

    def run(name, answer, **how):
        trainer = make_agent(
            answer,
            environment_factory=Door,
            reward_funcs=None,
            train_dataset=doors("abb"),
            output_dir=str(tmp_path / name),
        )
        trainer.train(**how)
        return trainer.ledger.read(1)

    whole = run("whole", opens)
    with pytest.raises(Breaks):
        run("broken", stops)
    assert run("broken", opens, resume_from_checkpoint=True) == whole and len(whole) == 5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"environment_factory": Door, "reward_funcs": None, "train_dataset": None}, ValueError, "`train_dataset`"),
        ({"tools": [multiply], "reward_funcs": None}, ValueError, "No reward source provided.*`get_reward`"),
        ({"environment_factory": object}, ValueError, "`object` has no method `reset`"),
        ({"tools": ["multiply"]}, TypeError, "must be callable, got 'multiply'"),
        ({"tools": [multiply], "rollout_func": print}, ValueError, "makes the completions alone"),
        ({"rollout_func": 7}, TypeError, "`rollout_func` must be a function"),
    ],
)
def test_what_is_refused(make_agent, changes, error, message):
    with pytest.raises(error, match=message):
        make_agent(opens, **{"train_dataset": products(), **changes})


def test_text_prompts_and_templates_without_tools_are_refused(make_agent, make_trainer, problems):
    with pytest.raises(ValueError, match="prompts that are lists of messages"):
        make_agent(opens, tools=[multiply], train_dataset=problems)
    with pytest.raises(ValueError, match="does not support tool calling") as error:
        make_trainer(tools=[multiply], train_dataset=products(), few_shot_examples=None)
    name, folder = re.search(r"'(\S+\.jinja)' of (\S+)", str(error.value)).groups()
    assert (Path(folder) / name).exists()
    add = Tool(run=str, begin="[", end="]")
    outside = ToolSampler(EnvironmentSampler(RationaleSampler(), tools=[multiply]), add)
    trainer = make_agent(opens, samplers=[outside], train_dataset=products())
    with pytest.raises(ValueError, match="cannot be combined with a `ToolSampler`"):
        trainer.sample(1)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            ToolSampler(RationaleSampler(), Tool(run=str, begin="[", end="]")),
            "cannot be combined with a `ToolSampler`",
        ),
        (EnvironmentSampler(RationaleSampler(), tools=[multiply]), "cannot be inside another one"),
        (RolloutSampler(print), "cannot be combined with a `RolloutSampler`"),
    ],
)
def test_samplers_with_tools_or_completions_of_their_own_are_refused(make_agent, sampler, message):
    with pytest.raises(ValueError, match=message):
        make_agent(opens, samplers=mixture([sampler], [1.0]), tools=[multiply], train_dataset=products())


# Functions that make the completions


def writes(prompts, trainer):
    """Knows the answer to 2 * 3, after what an environment says."""
    tokenizer = trainer.processing_class
    said, own = (tokenizer(text)["input_ids"] for text in ("[hello]\n", "6"))
    completions = [[*said, *own, tokenizer.eos_token_id]] * len(prompts)
    return {
        "prompt_ids": [tokenizer(f"Prompt {prompt[-1]['content']}")["input_ids"] for prompt in prompts],
        "completion_ids": completions,
        "logprobs": [[0.0] * len(said) + [-1.0] * (len(own) + 1)] * len(prompts),
        "env_mask": [[0] * len(said) + [1] * (len(own) + 1)] * len(prompts),
        "score": [7.0] * len(prompts),
    }


def test_a_rollout_function_makes_the_completions(make_agent):
    def reward(completions, answer, score, **kwargs):
        assert score == [7.0] * len(completions)
        return exact_match_reward(completions, answer)

    trainer = make_agent(
        None, rollout_func=writes, reward_funcs=reward, train_dataset=products(), eval_dataset=products()
    )
    trainer.train()
    samples = trainer.ledger.read(1)
    assert [sample.kept for sample in samples] == [True, False] and samples[0].extra["score"] == 7.0
    assert trained_text(trainer, samples[0]) == ("Prompt 2 * 3?[hello]\n6<|im_end|>", "6<|im_end|>")
    assert trainer.outer_run.history[-1]["eval_accuracy"] == 0.5


def test_log_probabilities_of_what_the_environment_said_do_not_count(make_agent):
    def reports(prompts, trainer):
        output = writes(prompts, trainer)
        return {**output, "logprobs": [[-1.0] * len(ids) for ids in output["completion_ids"]]}

    trainer = make_agent(None, samplers=[RolloutSampler(reports)], train_dataset=products(), temperature=1.0)
    sample = trainer.sample(1)[0]
    assert sample.logprob == -sum(sample.loss_mask) and not all(sample.loss_mask)


TWO = {"prompt_ids": [[1], [1]], "completion_ids": [[1, 2], [1, 2]], "logprobs": None}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"prompt_ids": [[1]]}, r"must return a dict with the keys .* got \['prompt_ids'\]"),
        ([], "got a `list`"),
        ({"prompt_ids": [[1]], "completion_ids": [[1]], "logprobs": None}, "returned 1 `prompt_ids` for 2 prompts"),
        ({**TWO, "logprobs": [[0.0, 0.0]]}, "returned 1 `logprobs` for 2 prompts"),
        ({**TWO, "env_mask": []}, "returned 0 `env_mask` for 2 prompts"),
        ({**TWO, "score": [1.0]}, "returned 1 `score` for 2 prompts"),
        ({**TWO, "logprobs": [[0.0, 0.0], [0.0]]}, "1 values in `logprobs` for the 2 `completion_ids` of prompt 1"),
        ({**TWO, "env_mask": [[1], [1, 1]]}, "1 values in `env_mask` for the 2 `completion_ids` of prompt 0"),
    ],
)
def test_a_rollout_function_that_returns_other_things(make_agent, output, message):
    trainer = make_agent(None, samplers=[RolloutSampler(lambda prompts, trainer: output)], train_dataset=products())
    with pytest.raises(ValueError, match=message):
        trainer.sample(1)


# Environments that share nothing


def repeats(prompt):
    return "Done."


def test_an_environment_may_change_its_row(make_agent):
    class Queue:
        def reset(self, items, **kwargs):
            self.items = items
            return f" First: {self.items.pop(0)}."

        def get_reward(self):
            return 1.0

    problems = doors("a").add_column("items", [["x", "y", "z"]])
    trainer = make_agent(
        repeats,
        environment_factory=Queue,
        reward_funcs=None,
        train_dataset=problems,
        num_generations=3,
        temperature=1.0,
    )
    prompts = [json.loads(sample.prompt)[-1]["content"] for sample in trainer.sample(1)]
    assert prompts == ["Leave. First: x."] * 3


def test_a_rollout_function_may_change_its_prompts(make_agent):
    seen = []

    def appends(prompts, trainer):
        seen.extend(len(prompt) for prompt in prompts)
        output = writes(prompts, trainer)
        for prompt in prompts:
            prompt.append({"role": "assistant", "content": "6"})
            seen.append(len(prompt))
        return output

    trainer = make_agent(
        None,
        samplers=[RolloutSampler(appends, num_generations=2, temperature=1.0)],
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        train_dataset=products().select([0]),
    )
    trainer.sample(1)
    assert seen == [1, 1, 2, 2]


def test_all_calls_of_an_environment_are_made_in_one_thread(make_agent):
    class Table:
        def __init__(self):
            self.connection = sqlite3.connect(":memory:")
            self.connection.execute("CREATE TABLE keys (key TEXT)")

        def reset(self, key, **kwargs):
            self.connection.execute("DELETE FROM keys")
            self.connection.execute("INSERT INTO keys VALUES (?)", (key,))

        def open(self, key: str) -> str:
            """
            Looks a key up.

            Args:
                key: The key.

            Returns:
                What is found.
            """
            return str(self.connection.execute("SELECT count(*) FROM keys WHERE key = ?", (key,)).fetchone()[0])

        def get_reward(self):
            return float(self.connection.execute("SELECT count(*) FROM keys").fetchone()[0])

    sampler = EnvironmentSampler(RationaleSampler(), Table, max_environments=2)
    trainer = make_agent(opens, samplers=[sampler], reward_funcs=None, train_dataset=doors("abab"))
    samples = trainer.sample(1)
    assert [sample.drop_reason for sample in samples] == [None] * 4
    assert [sample.extra["messages"][1]["content"] for sample in samples] == ["1", "0", "1", "0"]


class Waiting(Door):
    """Its coroutines exit, block or answer, as its problem says."""

    released = threading.Event()

    def reset(self, fault, **kwargs):
        self.fault = fault

    async def open(self, key: str) -> str:
        """
        Opens the door.

        Args:
            key: The key.

        Returns:
            What happens.
        """
        if self.fault == "exits":
            sys.exit(0)
        if self.fault == "blocks":
            Waiting.released.wait(60)
        return "open"

    def get_reward(self):
        return 1.0


@pytest.mark.parametrize("at_a_time", [1, 3])
@pytest.mark.parametrize("fault", ["exits", "blocks"])
def test_a_coroutine_that_exits_or_blocks_spoils_no_other_call(make_agent, fault, at_a_time):
    Waiting.released.clear()
    problems = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": "Go."}], "fault": name} for name in (fault, "none", "none")]
    )
    sampler = EnvironmentSampler(RationaleSampler(), Waiting, timeout=0.5, max_environments=at_a_time)
    trainer = make_agent(opens, samplers=[sampler], reward_funcs=None, train_dataset=problems)
    first, *others = trainer.sample(1)
    Waiting.released.set()
    assert [sample.extra["messages"][1]["content"] for sample in others] == ["open", "open"]
    if fault == "exits":
        assert "SystemExit" in first.extra["messages"][1]["content"]
    else:
        assert "gave no answer within 0.5 seconds" in first.extra["error"]


def test_coroutines_that_block_are_tried_once_more_each(make_agent, monkeypatch):
    calls = []

    class Counted(caller_module._CoroutineCall):
        def __init__(self, *args):
            calls.append(self)
            super().__init__(*args)

    monkeypatch.setattr(caller_module, "_CoroutineCall", Counted)
    Waiting.released.clear()
    problems = doors("aaaa").add_column("fault", ["blocks"] * 4)
    sampler = EnvironmentSampler(RationaleSampler(), Waiting, timeout=0.5)
    samples = make_agent(opens, samplers=[sampler], reward_funcs=None, train_dataset=problems).sample(1)
    Waiting.released.set()
    assert all("gave no answer within 0.5 seconds" in sample.extra["error"] for sample in samples)
    assert 4 < len(calls) <= 8 and sampler.environments.caller.num_blocked_loops == 1


def test_environments_of_an_event_loop_that_was_left_are_made_anew(make_agent):
    made = []

    class Counted(Waiting):
        def __init__(self):
            made.append(self)

    Waiting.released.clear()
    problems = doors("aaaa").add_column("fault", ["blocks", "none", "none", "none"])
    sampler = EnvironmentSampler(RationaleSampler(), Counted, timeout=1.0, max_environments=2)
    samples = make_agent(opens, samplers=[sampler], reward_funcs=None, train_dataset=problems).sample(1)
    Waiting.released.set()
    assert [sample.drop_reason for sample in samples] == ["error", None, None, None]
    assert len(made) == 4


def test_a_call_that_returns_after_its_time_is_silent(monkeypatch):
    errors, returned = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", errors.append)
    worker, release = Worker(), threading.Event()
    caller = Caller(timeout=0.05)
    with pytest.raises(OutOfTime):
        caller(worker, release.wait)
    release.set()
    worker.start(returned.set)
    assert returned.wait(30) and not errors


class Odd:
    """Returns what its problem says."""

    def reset(self, kind, **kwargs):
        self.kind = kind
        return " Look."

    def open(self, key: str) -> list:
        """
        Opens the door.

        Args:
            key: The key.

        Returns:
            What happens.
        """
        if self.kind == "keys":
            return [{(1, 2): 3}]
        if self.kind == "raises":
            raise Unspeakable
        return Unspeakable() if self.kind == "silent" else [{"a": threading.Lock}]

    def get_reward(self):
        return 1.0


def test_results_that_json_cannot_hold_do_not_end_the_run(make_agent):
    rows = [
        {"prompt": [{"role": "user", "content": "Go."}], "kind": kind}
        for kind in ("keys", "silent", "raises", "inner")
    ]
    trainer = make_agent(
        opens, environment_factory=Odd, reward_funcs=None, train_dataset=Dataset.from_list(rows), learning_rate=1e-5
    )
    trainer.train()
    samples = trainer.ledger.read(1)
    assert [sample.extra["messages"][1]["content"] for sample in samples] == [
        "[{(1, 2): 3}]",
        str({"error": "no text"}),
        str({"error": "Unspeakable"}),
        [{"a": str(threading.Lock)}],
    ]


def test_results_that_the_template_cannot_write_are_a_failed_sample(make_agent, monkeypatch):
    trainer = make_agent(multiplies, tools=[multiply], train_dataset=products())
    monkeypatch.setattr(trainer.task.prompt_builder, "encode_results", lambda messages: 1 // 0)
    errors = [sample.extra["error"] for sample in trainer.sample(1)]
    assert len(errors) == 2 and all("could not write the results of tools" in error for error in errors)


class Talkative(Door):
    """Says too much where its problem says."""

    def reset(self, key, where, **kwargs):
        self.where = where
        if where == "error of reset":
            raise ValueError("x" * 10**6)
        return super().reset(key) + "x" * 10**6 * (where == "reset")

    def open(self, key: str):
        """
        Opens the door.

        Args:
            key: The key.

        Returns:
            What happens.
        """
        if self.where == "error":
            raise ValueError("x" * 10**6)
        return ["x" * 10**6] if self.where == "list" else "x" * 10**6


def test_enormous_texts_are_neither_encoded_nor_recorded(make_agent):
    places = ["result", "list", "error", "reset", "error of reset"]
    problems = doors("aaaaa").add_column("where", places)
    trainer = make_agent(
        opens, environment_factory=Talkative, reward_funcs=None, train_dataset=problems, max_completion_length=200
    )
    encoded = []
    encode_results = trainer.task.prompt_builder.encode_results
    trainer.task.prompt_builder.encode_results = lambda messages: encoded.extend(messages) or encode_results(messages)
    *said, reset, error = trainer.sample(1)
    assert len(encoded) == 3 and all(200 < len(message["content"]) < 10**5 for message in encoded)
    for sample in said:
        assert (sample.drop_reason, sample.finish_reason, len(sample.completion_ids)) == ("truncated", "length", 200)
    assert "the observation has 1,000,008 characters" in reset.extra["error"]
    assert error.extra["error"].startswith("reset: ValueError('xxx") and len(error.extra["error"]) < 1000
    assert max(len(json.dumps(sample.extra)) for sample in (*said, reset, error)) < 10**5


def test_an_observation_follows_a_prompt_of_parts(make_agent):
    problems = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Leave."}]}], "kind": "keys"}]
    )
    trainer = make_agent(repeats, environment_factory=Odd, reward_funcs=None, train_dataset=problems)
    (sample,) = trainer.sample(1)
    parts = json.loads(sample.prompt)[-1]["content"]
    assert [part["text"] for part in parts] == ["Leave.", " Look."] and sample.kept


def test_reset_does_not_get_a_prompt_that_the_problems_do_not_have(make_agent):
    class Drawn:
        def reset(self, seed):
            return [{"type": "text", "text": f"Number {seed}."}]

        def get_reward(self):
            return 1.0

    trainer = make_agent(
        repeats, environment_factory=Drawn, reward_funcs=None, train_dataset=Dataset.from_dict({"seed": [1, 2]})
    )
    samples = trainer.sample(1)
    assert [json.loads(sample.prompt)[-1]["content"] for sample in samples] == ["Number 1.", "Number 2."]


def test_a_column_that_is_called_hint_is_refused(make_agent):
    with pytest.raises(ValueError, match="The problems have a column `hint`"):
        make_agent(
            opens, environment_factory=Door, reward_funcs=None, train_dataset=doors("a").add_column("hint", ["x"])
        )
