# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The calculator: what it computes, what it refuses, and whole completions that it takes part in."""

import json
import re
import time
from dataclasses import replace

import pytest

from star_trl import (
    CalculatorSampler,
    Completion,
    MajorityVoteSampler,
    Prompt,
    RationaleSampler,
    RationalizationSampler,
)
from star_trl.generation import (
    ContinuousBatchingEngine,
    GenerateEngine,
    GenerationRequest,
    PrefixSharingEngine,
    StopStrings,
)
from star_trl.rollout.generator import Generator
from star_trl.samplers import WithTool
from star_trl.tools.calculator import CALCULATOR, calculate
from support import SHARED_DATA
from support.generation_models import (
    byte_level_tokenizer,
    make_model,
    make_requests,
    params,
    sentencepiece_tokenizer,
    word_level_tokenizer,
)
from support.scripted_engine import ScriptedEngine
from support.sums import last_question


GSM8K = SHARED_DATA / "gsm8k"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48/2", "24"),
        ("100-50-30-15", "5"),
        ("2*20*.01", "0.4"),
        ("0.1+0.2", "0.3"),
        ("10/3", "3.3333333333"),
        ("-1/3", "-0.3333333333"),
        ("1/3*3", "1"),
        ("560//10", "56"),
        (" 5 * ( 3 + 4 ) ", "35"),
        ("2**10", "1024"),
        ("2**-1", "0.5"),
        ("2**3**2", "512"),
        ("-2**2", "-4"),
        ("--3", "3"),
        ("10000/100000", "0.1"),
        ("1000000*1000000", "1000000000000"),
        ("0*5", "0"),
        ("-0.000000000001", "0"),
        ("(" * 49 + "1" + ")" * 49, "1"),
        ("-" * 99 + "1", "-1"),
    ],
)
def test_values(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *"|()|1+|*2|2 3|(1|1)|1.|1..2|1e5|1_0|0x10|1,000|5%|$5|3x4|3^4|3 mod 4".split("|"),
        *"1/0|1//0|0**-1|1/(2-2)".split("|"),
        *("9**9**9**9", "9**9**9", "2**65", "10**18", "9" * 19, "9" * 100, "(" * 100, "1+" * 60 + "1"),
        *("(-8)**(1/3)", "2**0.5", "1" + "**1" * 40),
        *"exit()|__import__('os').system('true')|a+b|lambda: 0|True|None|[1]|1 if 1 else 2".split("|"),
        *"٣+٤|１+２|²|½|π|2×3|6÷2|5−3|∞|1\x002|1\u00a0+1".split("|"),
        *"<<1+1 1=1 1>0 1&2 1|2 ~1 1;2 1#2 '1' \\1".split(),
    ],
)
def test_what_is_no_arithmetic_has_no_value_and_takes_no_time(expression):
    start = time.process_time()
    assert calculate(expression) is None
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize(("split", "num_marks"), [("train", 23716), ("test", 4282)])
def test_the_calculator_agrees_with_every_mark_of_gsm8k(split, num_marks):
    path = GSM8K / f"{split}.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    marks = re.findall(r"<<(.*?)=(.*?)>>", "".join(json.loads(line)["answer"] for line in path.open()))
    assert len(marks) == num_marks
    for expression, result in marks:
        result = calculate(result) if "/" in result else result  # one result is written 3/4
        assert float(calculate(expression)) == pytest.approx(float(result), abs=1e-9)


# Whole completions, with a model that is a script: it goes on with the prompt's text as a dictionary says.


def prompt_of(tokenizer, text="Q", seed=7):
    return Prompt(problem=0, sample_index=0, input_ids=tokenizer(text)["input_ids"], seed=seed, columns={})


def complete(tokenizer, script, stop_strings=(), max_new_tokens=100):
    """The completion of a model that writes `script[text so far]`, and what it was asked."""
    engine = ScriptedEngine(tokenizer, lambda text: script.get(text, ""))
    parameters = params(
        max_new_tokens=max_new_tokens, stop_strings=stop_strings, eos_token_ids={tokenizer.eos_token_id}
    )
    generate = WithTool(Generator(engine, None, tokenizer, parameters), CALCULATOR)
    (completion,) = generate([prompt_of(tokenizer)])
    return completion, engine.prompts


def text_of(tokenizer, completion, trained=True):
    ids = [i for i, kept in zip(completion.token_ids, completion.loss_mask, strict=True) if kept or not trained]
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_results_are_put_in_and_not_trained_on(tokenizer):
    script = {"Q": "a=<<48/2=99>>.", "Qa=<<48/2=24>>": "24 b <<2*3=", "Qa=<<48/2=24>>24 b <<2*3=6>>": "6\n30"}
    completion, asked = complete(tokenizer, script)
    assert text_of(tokenizer, completion, trained=False) == "a=<<48/2=24>>24 b <<2*3=6>>6\n30"
    assert text_of(tokenizer, completion) == "a=<<48/2=24 b <<2*3=6\n30"
    assert completion.finish_reason == "eos" and completion.token_ids[-1] == tokenizer.eos_token_id
    assert completion.prompt == prompt_of(tokenizer)
    assert asked == list(script)


@pytest.mark.parametrize("mark", ["<<1/0=", "<<9**9**9**9=", "<<x+y=", "<<=", "<< 1 < 2=", "<<exit()=", "<<1>>>="])
def test_what_cannot_be_computed_is_left_to_the_model(tokenizer, mark):
    completion, _ = complete(tokenizer, {"Q": mark, f"Q{mark}": "5>> <<2+2=", f"Q{mark}5>> <<2+2=4>>": "4"})
    assert text_of(tokenizer, completion, trained=False) == f"{mark}5>> <<2+2=4>>4"


def test_marks_that_are_closed_or_not_opened_are_no_marks(tokenizer):
    script = {"Q": "1=1 <<2>> b=c", "Q1=1 <<2>> b=": "3 < 4 = 5"}
    completion, asked = complete(tokenizer, script)
    assert text_of(tokenizer, completion, trained=False) == "1=1 <<2>> b=3 < 4 = 5"
    assert all(completion.loss_mask)
    assert len(asked) == 2


def test_an_unclosed_mark_ends_with_the_completion(tokenizer):
    completion, _ = complete(tokenizer, {"Q": "a <<48/2"})
    assert text_of(tokenizer, completion) == "a <<48/2" and completion.finish_reason == "eos"


def test_the_stop_string_is_cut_off_behind_a_result(tokenizer):
    completion, _ = complete(tokenizer, {"Q": "<<1+1=", "Q<<1+1=2>>": "2\n\nQ: more"}, stop_strings=("\n\n",))
    assert text_of(tokenizer, completion, trained=False) == "<<1+1=2>>2"
    assert completion.finish_reason == "stop" and completion.token_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("limit", range(1, 16))
def test_the_limit_holds_for_the_whole_completion(tokenizer, limit):
    script = {"Q": "<<1+1=", "Q<<1+1=2>>": "<<3+3=", "Q<<1+1=2>><<3+3=6>>": "66"}
    completion, _ = complete(tokenizer, script, max_new_tokens=limit)
    assert text_of(tokenizer, completion, trained=False) == "<<1+1=2>><<3+3=6>>66"[:limit]
    assert completion.finish_reason == "length" and len(completion.token_ids) == len(completion.loss_mask) == limit


@pytest.mark.parametrize("tokenizer", [byte_level_tokenizer(), sentencepiece_tokenizer()], ids=["bytes", "pieces"])
def test_the_result_follows_without_a_gap(tokenizer):
    ids = tokenizer("two 5 + 7 <<5+7=", add_special_tokens=False)["input_ids"]
    completion = Completion(prompt=None, token_ids=ids, loss_mask=[True] * len(ids), finish_reason="pause")
    computed = WithTool(Generator(None, None, tokenizer, params()), CALCULATOR).compute(completion)
    assert tokenizer.decode(computed.token_ids) == "two 5 + 7 <<5+7=12>>"
    assert computed.token_ids[: len(ids)] == ids and computed.loss_mask.count(True) == len(ids)


def test_a_token_that_says_more_than_the_mark_is_replaced():
    tokenizer = word_level_tokenizer(["<<5+7", "=$", "=", "=12>>"])
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary["<<5+7"], vocabulary["=$"]]
    completion = Completion(
        prompt=None, token_ids=ids, loss_mask=[True, True], finish_reason="pause", logprobs=[-1.0, -2.0]
    )
    computed = WithTool(Generator(None, None, tokenizer, params()), CALCULATOR).compute(completion)
    assert computed.token_ids[0] == ids[0] and vocabulary["=$"] not in computed.token_ids
    assert computed.loss_mask == [True] + [False] * (len(computed.token_ids) - 1)
    assert computed.logprobs == [-1.0] + [0.0] * (len(computed.token_ids) - 1)


# Real engines


def test_engines_pause_at_the_same_token_and_go_on_alike():
    """With a temperature as well, whatever the batch size: each round draws from a stream of its own."""
    tokenizer, model = word_level_tokenizer(), make_model()
    pause_between = ("w", "w")  # a model with random weights soon comes upon two such words
    prompts = [
        Prompt(problem=i, sample_index=0, input_ids=request.prompt_ids, seed=request.seed, columns={})
        for i, request in enumerate(make_requests([3, 30, 7, 9, 20, 4, 12], range(10, 40)))
    ]

    def go_on(engine, parameters):
        generate, pending, done, rounds = Generator(engine, model, tokenizer, parameters), prompts, {}, 0
        while pending:
            paused = []
            for completion in generate(pending, pause_between=pause_between):
                if completion.finish_reason == "pause":
                    longer = replace(
                        completion,
                        token_ids=[*completion.token_ids, 5, 6],
                        loss_mask=[*completion.loss_mask, False, False],
                        logprobs=[*completion.logprobs, 0.0, 0.0],
                    )
                    paused.append(replace(completion.prompt, begun=longer))
                else:
                    done[completion.prompt.problem] = completion
            pending, rounds = paused, rounds + 1
        return [done[i] for i in range(len(prompts))], rounds

    for temperature in (0.0, 1.0):
        parameters = params(max_new_tokens=24, temperature=temperature, logprobs=True)
        expected, rounds = go_on(GenerateEngine(tokenizer, 1), parameters)
        assert rounds > 1 and any(False in completion.loss_mask for completion in expected)
        assert all(len(completion.token_ids) <= 24 for completion in expected)
        assert all(len(completion.logprobs) == len(completion.token_ids) for completion in expected)
        others = [GenerateEngine(tokenizer, 5), PrefixSharingEngine(tokenizer), PrefixSharingEngine(tokenizer, 3)]
        if temperature == 0:
            others.append(ContinuousBatchingEngine(tokenizer))
        for engine in others:
            for completion, reference in zip(go_on(engine, parameters)[0], expected, strict=True):
                assert completion.token_ids == reference.token_ids
                assert completion.loss_mask == reference.loss_mask
                assert completion.finish_reason == reference.finish_reason
                assert completion.logprobs == pytest.approx(reference.logprobs, abs=1e-3)


def test_requests_keep_to_their_own_limits():
    tokenizer, model = word_level_tokenizer(), make_model()
    requests = make_requests([3, 30, 7], range(10, 40))
    whole = list(GenerateEngine(tokenizer, 1).generate(model, requests, params()))
    whole = {output.index: output.token_ids for output in whole}
    limited = [
        GenerationRequest(prompt_ids=request.prompt_ids, seed=request.seed, max_new_tokens=limit)
        for request, limit in zip(requests, (2, 16, 99), strict=True)
    ]
    for engine in (GenerateEngine(tokenizer, 3), PrefixSharingEngine(tokenizer)):
        for output in engine.generate(model, limited, params()):
            assert output.token_ids == whole[output.index][: (2, 16, 16)[output.index]]


def test_a_stop_string_before_the_pause_wins():
    tokenizer = byte_level_tokenizer()
    stop = StopStrings(tokenizer, ["\n\n"], ("<<", "="))
    for text, reason in [
        ("a <<1+1=", "pause"),
        ("a <<1+1=\n\n", "pause"),
        ("a\n\n<<1+1=", "stop"),
        ("a <<1+1\n\n=", "stop"),
        ("a = <<1+1", None),
        ("= <<", None),
    ]:
        assert stop.reason(tokenizer(text)["input_ids"]) == reason, text
    ids = tokenizer("a = <<1+1=2>> <<3=")["input_ids"]
    cut = stop.cut(0, ids, None, params())
    assert cut.finish_reason == "pause" and tokenizer.decode(cut.token_ids) == "a = <<1+1="


# In the trainer


def sums_with_marks(prompt):
    """Writes a mark for the sum of the question, or in the hinted prompt for the hint, and then copies its result."""
    question, _, written = last_question(prompt).partition("A:")
    if written.endswith(">>"):
        return "\n" + written.rpartition("=")[2].removesuffix(">>")
    hint = re.search(r"\((.*)\)", question)
    if hint:
        return f" <<{hint[1]}+0="
    return " <<1/0=" if "7" in question or written else f" <<{question.split('?')[0]}=99>>\n99"


def test_a_run_with_a_calculator(make_trainer, problems):
    trainer = make_trainer(
        sums_with_marks,
        samplers=[CalculatorSampler(RationaleSampler()), CalculatorSampler(RationalizationSampler())],
        eval_dataset=problems,
        num_iterations=1,
    )
    trainer.train()
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    assert samples["rationale", 0].completion == " <<1+2=3>>\n3" and samples["rationale", 0].kept
    assert samples["rationale", 0].loss_mask == [True] * 7 + [False] * 3 + [True] * 3
    assert not samples["rationale", 3].kept
    assert samples["rationalization", 3].completion == " <<8+0=8>>\n8" and samples["rationalization", 3].kept
    assert trainer.evaluate()["eval_accuracy"] == 0.75


def test_an_answer_that_the_sampler_supplies_is_not_evaluated_against(make_trainer, problems):
    class SelfTaught(RationaleSampler):
        supplies_answer = True

        def sample(self, prompts, generate):
            for completion in generate(prompts):
                yield replace(completion, answer="0")

    trainer = make_trainer(lambda prompt: "\n0", samplers=[SelfTaught()], eval_dataset=problems)
    assert trainer.evaluate()["eval_accuracy"] == 0.0
    trainer.sample(1)
    assert all(sample.kept for sample in trainer.ledger.read(1))


def test_a_completion_that_a_sampler_does_not_go_on_with_is_not_kept(make_trainer):
    class Impatient(RationaleSampler):
        def sample(self, prompts, generate):
            yield from generate(prompts, pause_between=("<<", "="))

    trainer = make_trainer(lambda prompt: "<<1=", samplers=[Impatient()], reward_funcs=lambda prompts, **_: [1.0] * 4)
    trainer.sample(1)
    assert {sample.drop_reason for sample in trainer.ledger.read(1)} == {"truncated"}


def test_completions_come_before_all_prompts_are_begun(tokenizer, monkeypatch):
    monkeypatch.setattr("star_trl.generation.engine.REQUESTS_AT_A_TIME", 2)
    engine = ScriptedEngine(tokenizer, lambda text: "<<1+1=" if text == "Q" else "2")
    generate = WithTool(Generator(engine, None, tokenizer, params(max_new_tokens=100)), CALCULATOR)
    prompts = [replace(prompt_of(tokenizer), problem=number) for number in range(5)]
    completions = generate(prompts)
    next(completions)
    assert engine.prompts == ["Q", "Q", "Q<<1+1=2>>"]
    assert {completion.prompt.problem for completion in [next(completions), *completions]} >= {2, 3, 4}


def test_a_majority_vote_with_a_calculator(make_trainer, problems):
    voter = MajorityVoteSampler(lambda text: text.strip().splitlines()[-1], num_generations=3)
    trainer = make_trainer(
        sums_with_marks, samplers=[CalculatorSampler(voter)], train_dataset=problems.remove_columns("answer")
    )
    trainer.sample(1)
    samples = trainer.ledger.read(1)
    assert {sample.sampler for sample in samples} == {"majority_vote"} and len(samples) == 12
    assert all(sample.kept for sample in samples if sample.problem_id < 3)
