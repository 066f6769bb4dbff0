# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tools that a model calls while it reasons, and hints to call them that do not reach its training."""

import re
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from star_trl import (
    Completion,
    HintInferSampler,
    MajorityVoteSampler,
    Prompt,
    RationaleSampler,
    RationalizationSampler,
    Tool,
    ToolSampler,
    load_ledger,
)
from star_trl.generation import ContinuousBatchingEngine, GenerateEngine, PrefixSharingEngine
from star_trl.generation.prefix_sharing.decoder import PrefixDecoder
from star_trl.rollout.generator import Generator
from star_trl.samplers import WithTool
from support.generation_models import (
    TINY,
    byte_level_tokenizer,
    make_model,
    make_requests,
    params,
    sentencepiece_tokenizer,
)
from support.scripted_engine import ScriptedEngine
from support.sums import last_question
from support.tiny_models import CHAT_TEMPLATE


WORDS = {"cat": "gato", "dog": "perro"}


def look_up(**changes) -> Tool:
    return Tool(**{"run": WORDS.get, "begin": "<up>", "end": "</up>", "result": "<is>{}</is>", **changes})


def prompt_of(tokenizer, text="Q", problem=0, seed=7):
    ids = tokenizer(text)["input_ids"]
    return Prompt(problem=problem, sample_index=0, input_ids=ids, seed=seed, columns={})


def generator(tokenizer, script, max_new_tokens=100, stop_strings=()):
    """A `Generate` that writes `script[text so far]`, and its engine."""
    engine = ScriptedEngine(tokenizer, lambda text: script.get(text, ""))
    parameters = params(
        max_new_tokens=max_new_tokens, stop_strings=stop_strings, eos_token_ids={tokenizer.eos_token_id}
    )
    return Generator(engine, None, tokenizer, parameters), engine


def complete(tokenizer, script, tool, **limits):
    generate, _ = generator(tokenizer, script, **limits)
    (completion,) = WithTool(generate, tool)([prompt_of(tokenizer)])
    return completion


def text_of(tokenizer, completion, trained=False):
    ids = [i for i, kept in zip(completion.token_ids, completion.loss_mask, strict=True) if kept or not trained]
    return tokenizer.decode(ids, skip_special_tokens=True)


# Calls


def test_the_result_is_put_in_and_not_trained_on(tokenizer):
    script = {"Q": "a <up>cat</up>...", "Qa <up>cat</up><is>gato</is>": " So gato."}
    completion = complete(tokenizer, script, look_up())
    assert text_of(tokenizer, completion) == "a <up>cat</up><is>gato</is> So gato."
    assert text_of(tokenizer, completion, trained=True) == "a <up>cat</up> So gato."
    assert completion.finish_reason == "eos" and completion.prompt == prompt_of(tokenizer)


def test_what_is_no_call_is_left_to_the_model(tokenizer):
    completion = complete(tokenizer, {"Q": "<up>cow</up>", "Q<up>cow</up>": "vaca"}, look_up())
    assert text_of(tokenizer, completion, trained=True) == "<up>cow</up>vaca"


def test_the_last_beginning_counts(tokenizer):
    """A model that speaks of the mark before it uses it."""
    script = {"Q": "With <up> I look up: <up>dog</up>"}
    assert text_of(tokenizer, complete(tokenizer, script, look_up())).endswith("<up>dog</up><is>perro</is>")


@pytest.mark.parametrize(
    ("max_calls", "calls", "reason"), [(0, 0, "pause"), (1, 1, "pause"), (2, 2, "eos"), (None, 2, "eos")]
)
def test_a_completion_that_calls_too_often_is_given_up(tokenizer, max_calls, calls, reason):
    one, two = "<up>cat</up><is>gato</is>", "<up>dog</up><is>perro</is>"
    script = {"Q": "<up>cat</up>", f"Q{one}": "<up>dog</up>", f"Q{one}{two}": "."}
    completion = complete(tokenizer, script, look_up(max_calls=max_calls))
    assert text_of(tokenizer, completion).count("<is>") == calls and completion.finish_reason == reason


def test_a_long_result_is_shortened_in_the_middle(tokenizer):
    tool = look_up(run=lambda call: "0123456789", max_result_characters=5)
    assert text_of(tokenizer, complete(tokenizer, {"Q": "<up></up>"}, tool)) == "<up></up><is>012 ... 89</is>"


@pytest.mark.parametrize("limit", [1, 9, 13, 20, 24, 27, 30])
def test_the_length_limit_holds_for_the_whole(tokenizer, limit):
    script = {"Q": "<up>cat</up>", "Q<up>cat</up><is>gato</is>": "12345"}
    completion = complete(tokenizer, script, look_up(), max_new_tokens=limit)
    assert text_of(tokenizer, completion) == "<up>cat</up><is>gato</is>12345"[:limit]
    assert len(completion.token_ids) == len(completion.loss_mask) == limit and completion.finish_reason == "length"


def test_a_tool_cannot_end_the_completion(tokenizer):
    completion = complete(tokenizer, {"Q": "<up></up>"}, look_up(run=lambda call: "<eos><user>"))
    assert completion.token_ids.count(tokenizer.eos_token_id) == 1
    assert text_of(tokenizer, completion) == "<up></up><is><eos><user></is>"


@pytest.mark.parametrize("tokenizer", [byte_level_tokenizer(), sentencepiece_tokenizer()], ids=["bytes", "pieces"])
def test_a_line_break_behind_the_call_is_put_in_once(tokenizer):
    """Whether or not the token that ended the call has it."""
    tool = Tool(run=str.strip, begin="```", end="\n```", result="\n> {}\n")
    generate = Generator(None, None, tokenizer, params())
    for text in ("a ``` 5\n```", "a ``` 5\n```\n"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        completion = Completion(prompt=None, token_ids=ids, loss_mask=[True] * len(ids), finish_reason="pause")
        computed = WithTool(generate, tool).compute(completion)
        assert tokenizer.decode(computed.token_ids) == "a ``` 5\n```\n> 5\n"
        assert computed.token_ids[: len(ids)] == ids and computed.loss_mask.count(True) == len(ids)


def test_calls_run_at_a_time_and_their_order_changes_nothing(tokenizer):
    """Each call waits for all others: they would wait for ever if they ran one after another."""
    barrier = threading.Barrier(4)

    def slow(call):
        barrier.wait(20)
        return call * 2

    engine = ScriptedEngine(tokenizer, lambda text: f"<up>{text}</up>" if len(text) == 1 else "")
    generate = Generator(engine, None, tokenizer, params(max_new_tokens=100, eos_token_ids={tokenizer.eos_token_id}))
    prompts = [prompt_of(tokenizer, text, problem=index) for index, text in enumerate("abcd")]
    done = {
        c.prompt.problem: text_of(tokenizer, c) for c in WithTool(generate, look_up(run=slow, num_threads=4))(prompts)
    }
    assert done == {index: f"<up>{text}</up><is>{text}{text}</is>" for index, text in enumerate("abcd")}


@pytest.fixture(scope="module")
def bytes_and_model():
    """A tokenizer, a model with random weights and prompts behind a common prefix."""
    tokenizer = byte_level_tokenizer()
    model = make_model(LlamaConfig(**{**TINY, "vocab_size": len(tokenizer)}))
    prompts = [
        Prompt(problem=i, sample_index=0, input_ids=request.prompt_ids, seed=request.seed, columns={})
        for i, request in enumerate(make_requests([3, 30, 7, 9] * 3, range(10, 40)))
    ]
    return tokenizer, model, prompts


# A model with random weights soon comes upon two such letters.
OFTEN_CALLED = {"begin": "e", "end": "a", "max_calls": 3}


def run_with_tool(
    engine, bytes_and_model, temperature=0.0, answer=lambda call: str(len(call)), num_threads=None, length=40
):
    tokenizer, model, prompts = bytes_and_model
    tool = Tool(run=answer, num_threads=num_threads, **OFTEN_CALLED)
    parameters = params(max_new_tokens=length, temperature=temperature, logprobs=True)
    generate = Generator(engine, model, tokenizer, parameters)
    done = {completion.prompt.problem: completion for completion in WithTool(generate, tool)(prompts)}
    return [done[i] for i in range(len(prompts))]


def written(completions):
    return [(each.token_ids, each.loss_mask, each.finish_reason) for each in completions]


def test_engines_call_alike_whatever_the_batch_size(bytes_and_model):
    tokenizer = bytes_and_model[0]
    for temperature in (0.0, 1.0):
        expected = run_with_tool(GenerateEngine(tokenizer, 1), bytes_and_model, temperature)
        assert temperature == 0 or any(False in each.loss_mask for each in expected)
        for batch_size in (1, 5, 12):
            found = run_with_tool(PrefixSharingEngine(tokenizer, batch_size), bytes_and_model, temperature)
            assert written(found) == written(expected)
            for one, other in zip(found, expected, strict=True):
                assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        if temperature == 0:
            found = run_with_tool(ContinuousBatchingEngine(tokenizer), bytes_and_model, temperature)
            assert written(found) == written(expected)


class Replies:
    """Lets a completion go on twice behind its EOS, with a reply that depends on what it wrote."""

    def begin(self, completion):
        if completion.loss_mask.count(False) >= 2 * 3:
            return None
        future = Future()
        future.set_result([5, 6, 7 + len(completion.token_ids) % 9])
        return future

    def end(self, completion, reply):
        return replace(
            completion,
            token_ids=completion.token_ids + reply,
            loss_mask=completion.loss_mask + [False] * 3,
            logprobs=completion.logprobs + [0.0] * 3,
        )


def test_engines_go_on_behind_eos_alike(bytes_and_model):
    tokenizer, model, prompts = bytes_and_model
    parameters = params(
        max_new_tokens=60, temperature=1.0, logprobs=True, eos_token_ids=frozenset(range(40, 70)), pause_at_eos=True
    )

    def run(engine):
        generate = Generator(engine, model, tokenizer, parameters)
        return written(sorted(generate(prompts, pauses=Replies()), key=lambda each: each.prompt.problem))

    expected = run(GenerateEngine(tokenizer, 1))
    assert {reason for _, _, reason in expected} >= {"eos"}
    assert any(mask.count(False) == 6 and mask[-1] for _, mask, _ in expected)
    for batch_size in (1, 5, 12):
        assert run(PrefixSharingEngine(tokenizer, batch_size)) == expected


def test_after_a_pause_only_the_result_is_fed(bytes_and_model):
    """The prefix-sharing engine feeds every token of the prompts and completions once, the common prefix for all."""
    tokenizer, model, prompts = bytes_and_model
    engine = PrefixSharingEngine(tokenizer, len(prompts))
    run_with_tool(engine, bytes_and_model, 1.0)  # tries the model out, which feeds some tokens
    fed = []
    hook = model.model.embed_tokens.register_forward_pre_hook(lambda module, args: fed.append(args[0].numel()))
    try:
        completions = run_with_tool(engine, bytes_and_model, 1.0)
    finally:
        hook.remove()
    assert sum(False in each.loss_mask for each in completions) > 3
    width = max(len(prompt.input_ids) for prompt in prompts) - 30 - 1
    # The prefix once, the prompts padded to the longest, and all but the last token of each completion
    assert sum(fed) <= 30 + width * len(prompts) + sum(len(each.token_ids) for each in completions)


def test_nothing_waits_for_a_slow_tool(bytes_and_model):
    """The first call returns when all other completions have come."""
    tokenizer, model, prompts = bytes_and_model
    others_done, first = threading.Event(), threading.Lock()

    def answer(call):
        if first.acquire(blocking=False):
            assert others_done.wait(30)
        return "7"

    generate = Generator(
        PrefixSharingEngine(tokenizer, 4), model, tokenizer, params(max_new_tokens=40, temperature=1.0)
    )
    finished = []
    for completion in WithTool(generate, Tool(run=answer, num_threads=4, **OFTEN_CALLED))(prompts):
        finished.append(completion)
        if len(finished) == len(prompts) - 1:
            others_done.set()
    assert len(finished) == len(prompts) and False in finished[-1].loss_mask


def test_only_as_many_paused_rows_are_held_as_are_generated_at_a_time(bytes_and_model, monkeypatch):
    """The others are prefilled again, and come to the same."""
    tokenizer = bytes_and_model[0]
    expected = run_with_tool(GenerateEngine(tokenizer, 1), bytes_and_model, 1.0)
    leave, waiting, more_wait = PrefixDecoder._leave, [], threading.Event()

    def spy(self, reasons):
        ended = leave(self, reasons)
        waiting.append([row.states is not None for row in self.waiting.values()])
        if len(self.waiting) > 2:
            more_wait.set()
        return ended

    def slow(call):
        more_wait.wait(20)
        return str(len(call))

    monkeypatch.setattr(PrefixDecoder, "_leave", spy)
    found = run_with_tool(PrefixSharingEngine(tokenizer, 2), bytes_and_model, 1.0, slow, num_threads=12)
    assert written(found) == written(expected)
    assert max(map(len, waiting)) > 2 and max(map(sum, waiting)) == 2


def test_a_result_of_many_tokens_is_prefilled(bytes_and_model):
    tokenizer, model, prompts = bytes_and_model
    expected = run_with_tool(GenerateEngine(tokenizer, 1), bytes_and_model, 1.0, lambda call: "long " * 12, length=120)
    engine = PrefixSharingEngine(tokenizer, 5)
    found = run_with_tool(engine, bytes_and_model, 1.0, lambda call: "long " * 12, length=120)
    assert written(found) == written(expected)
    assert any(each.loss_mask.count(False) > 32 for each in found)


def test_an_error_of_a_tool_drops_the_calls_that_have_not_begun(bytes_and_model):
    """Also one that looks like a lack of memory for the batch."""
    begun = []

    def fail(call):
        begun.append(call)
        raise torch.OutOfMemoryError("of the tool")

    with pytest.raises(torch.OutOfMemoryError, match="of the tool"):
        run_with_tool(PrefixSharingEngine(bytes_and_model[0], 12), bytes_and_model, 1.0, fail, num_threads=1)
    assert len(begun) < 12


def test_a_batch_that_is_halved_goes_on_with_what_had_paused(bytes_and_model):
    tokenizer, model, _ = bytes_and_model
    expected = run_with_tool(PrefixSharingEngine(tokenizer, 12), bytes_and_model, 1.0)
    steps = []

    def limit(module, args):
        steps.append(args[0].shape)
        if len(steps) > 25 and args[0].shape[0] > 2:  # in the middle, when some have called the tool
            raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = PrefixSharingEngine(tokenizer, 12)
    run_with_tool(engine, bytes_and_model)  # tries the model out
    hook = model.model.embed_tokens.register_forward_pre_hook(limit)
    try:
        found = run_with_tool(engine, bytes_and_model, 1.0)
    finally:
        hook.remove()
    assert written(found) == written(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begin": ""}, "between two texts"),
        ({"result": "no place"}, "needs one {}"),
        ({"result": "{} {}"}, "needs one {}"),
        ({"max_calls": -1}, "`max_calls` must be at least 0"),
        ({"max_result_characters": 0}, "`max_result_characters` must be at least 1"),
        ({"num_threads": 0}, "`num_threads` must be at least 1"),
    ],
)
def test_tools_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        look_up(**changes)


def test_two_tools_of_one_sampler_are_refused(make_trainer):
    trainer = make_trainer(
        lambda prompt: "", samplers=[ToolSampler(ToolSampler(RationaleSampler(), look_up()), look_up())]
    )
    with pytest.raises(ValueError, match="Make one tool of two"):
        trainer.sample(1)


# In the trainer


ADDER = Tool(run=lambda call: str(sum(map(int, call.split("+")))), begin="[", end="]", result="{};")


def adds(prompt: str) -> str:
    """Adds with the tool what it can read: the sums below 7, and the hints."""
    question, _, written = last_question(re.sub(r"<\w+>", "", prompt)).partition("?")
    if written.endswith(";"):
        return "\n" + written.rpartition("]")[2].removesuffix(";")
    hint = re.search(r"\((.*)\)", written)
    return f" [{hint[1]}+0]" if hint else f" [{question}]" if "7" not in question and "9" not in question else "\n0"


def as_chat(row: dict) -> dict:
    return {
        **row,
        **{name: [{"role": "user", "content": row[name]}] for name in ("prompt", "hinted_prompt") if name in row},
    }


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_a_run_with_a_tool_few_shot_and_rationalized(make_trainer, problems, chat):
    from support.sums import EXAMPLES

    examples = EXAMPLES
    if chat:
        problems, examples = problems.map(as_chat), [as_chat(example) for example in EXAMPLES]
    trainer = make_trainer(
        adds,
        samplers=[ToolSampler(sampler, ADDER) for sampler in (RationaleSampler(), RationalizationSampler())],
        train_dataset=problems,
        eval_dataset=problems,
        few_shot_examples=examples,
        num_iterations=1,
    )
    trainer.train()
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    assert samples["rationale", 0].completion == " [1+2]3;\n3" and samples["rationale", 0].kept
    assert samples["rationale", 0].loss_mask == [True] * 6 + [False] * 2 + [True] * 3
    assert samples["rationalization", 3].completion == " [8+0]8;\n8" and samples["rationalization", 3].kept
    assert trainer.evaluate()["eval_accuracy"] == 0.75
    assert CHAT_TEMPLATE and all(("<user>" in prompt) == chat for prompt in trainer.engine.prompts)


def test_a_run_that_a_tool_ended_goes_on_as_if_it_had_not(make_trainer, tmp_path):
    def run(name, fails):
        def add(call):
            if fails and call == "4+5":
                raise RuntimeError("the tool broke")
            return ADDER.run(call)

        settings = {"samplers": [ToolSampler(RationaleSampler(), replace(ADDER, run=add))], "num_iterations": 1}
        return make_trainer(adds, output_dir=str(tmp_path / name), generation_batch_size=1, **settings)

    run("whole", fails=False).train()
    with pytest.raises(RuntimeError, match="the tool broke"):
        run("broken", fails=True).train()
    run("broken", fails=False).train(resume_from_checkpoint=True)
    whole, resumed = (load_ledger(tmp_path / name).to_list() for name in ("whole", "broken"))
    assert resumed == whole and len(whole) == 4


# Hints


HINT = "Wait, a tool helps. "


def hint_infer(tokenizer, script, prompts=1, hint=HINT, **changes):
    limits = {name: changes.pop(name) for name in ("max_new_tokens", "stop_strings") if name in changes}
    generate, engine = generator(tokenizer, script, **limits)
    sampler = HintInferSampler(ToolSampler(RationaleSampler(), look_up()), hint, **changes)
    all_prompts = [prompt_of(tokenizer, problem=index, seed=index) for index in range(prompts)]
    return list(sampler.sample(all_prompts, generate)), engine


def test_the_model_sees_the_hint_and_is_not_trained_on_it(tokenizer):
    script = {
        "Q": "It is 7. Wait, no.",
        f"QIt is 7. {HINT}": "<up>cat</up>",
        f"QIt is 7. {HINT}<up>cat</up><is>gato</is>": "gato",
    }
    (completion,), engine = hint_infer(tokenizer, script)
    assert engine.prompts == list(script)
    assert text_of(tokenizer, completion) == "It is 7. <up>cat</up><is>gato</is>gato"
    assert text_of(tokenizer, completion, trained=True) == "It is 7. <up>cat</up>gato"
    assert completion.extra == {"hint": HINT, "hint_position": 9, "hint_tokens": len(HINT)}
    assert completion.prompt == prompt_of(tokenizer, seed=0)


def test_a_hint_that_is_kept_is_trained_on(tokenizer):
    script = {"Q": "7. Wait, no.", f"Q7. {HINT}": "gato"}
    (completion,), _ = hint_infer(tokenizer, script, keep_hint=True)
    assert text_of(tokenizer, completion, trained=True) == f"7. {HINT}gato" and completion.extra["hint_position"] == 3


def test_without_such_a_word_the_hint_comes_at_the_end(tokenizer):
    (completion,), engine = hint_infer(tokenizer, {"Q": "It is 7.", f"QIt is 7.{HINT}": "gato"})
    assert text_of(tokenizer, completion) == "It is 7.gato" and completion.token_ids[-1] == tokenizer.eos_token_id
    (completion,), engine = hint_infer(tokenizer, {"Q": "It\n\nmore", f"QIt{HINT}": "gato"}, stop_strings=("\n\n",))
    assert text_of(tokenizer, completion) == "Itgato"


def test_a_completion_that_called_its_tool_has_no_hint(tokenizer):
    (completion,), engine = hint_infer(tokenizer, {"Q": "<up>cat</up>", "Q<up>cat</up><is>gato</is>": "Wait"})
    assert text_of(tokenizer, completion).endswith("Wait") and completion.extra == {} and len(engine.prompts) == 2


def test_a_completion_that_was_cut_has_a_hint_only_behind_a_word(tokenizer):
    (completion,), engine = hint_infer(tokenizer, {"Q": "x" * 50}, max_new_tokens=30)
    assert completion.finish_reason == "length" and len(engine.prompts) == 1
    (completion,), _ = hint_infer(tokenizer, {"Q": "Wait " + "x" * 50, f"Q{HINT}": "7"}, max_new_tokens=30)
    assert completion.finish_reason == "eos" and text_of(tokenizer, completion) == "7"


@pytest.mark.parametrize("limit", range(14, 40, 5))
def test_a_hint_counts_for_the_length_limit(tokenizer, limit):
    (completion,), _ = hint_infer(
        tokenizer, {"Q": "It is 7. Wait", f"QIt is 7. {HINT}": "0123456789"}, max_new_tokens=limit
    )
    assert text_of(tokenizer, completion) == f"It is 7. {'0123456789'[: max(0, limit - 9 - len(HINT))]}"
    assert completion.finish_reason == "length" and len(completion.loss_mask) == len(completion.token_ids)


def test_the_place_is_drawn_by_the_sample_among_all(tokenizer):
    completions, _ = hint_infer(tokenizer, {"Q": "a Wait b Wait c Alternatively d"}, prompts=30)
    places = {completion.prompt.problem: completion.extra["hint_position"] for completion in completions}
    assert {*places.values()} == {2, 9, 16}
    again, _ = hint_infer(tokenizer, {"Q": "a Wait b Wait c Alternatively d"}, prompts=30)
    assert {completion.prompt.problem: completion.extra["hint_position"] for completion in again} == places


def test_log_probabilities_are_those_of_the_tokens_that_are_left():
    tokenizer = byte_level_tokenizer()
    model = make_model(LlamaConfig(**{**TINY, "vocab_size": len(tokenizer)}))
    parameters = params(max_new_tokens=30, temperature=1.0, logprobs=True)
    generate = Generator(GenerateEngine(tokenizer, 4), model, tokenizer, parameters)
    prompts = [prompt_of(tokenizer, "some words", problem=index, seed=index) for index in range(8)]
    sampler = HintInferSampler(RationaleSampler(), HINT, after="[aeiou]")
    completions = list(sampler.sample(prompts, generate))
    assert len(completions) == 8 and any(completion.extra for completion in completions)
    for completion in completions:
        assert len(completion.logprobs) == len(completion.token_ids) == len(completion.loss_mask)
        assert all(logprob < 0 for logprob in completion.logprobs)


def test_hints_go_to_the_unsolved_problems_and_into_the_ledger_not_into_training(make_trainer):
    def answer(prompt):
        question, _, written = last_question(prompt).partition("\nA:")
        if HINT.strip() in written:
            return "\n8" if written.endswith(";") else "[7+1]"
        return "\n3" if question.startswith("1+2") else " Wait.\n0"

    samplers = [ToolSampler(RationaleSampler(), ADDER), HintInferSampler(ToolSampler(RationaleSampler(), ADDER), HINT)]
    trainer = make_trainer(answer, samplers=samplers, max_completion_length=64, num_iterations=1)
    trainer.train()
    samples = [sample for sample in trainer.ledger.read(1) if sample.sampler == "hint_infer"]
    assert [sample.problem_id for sample in samples] == [1, 2, 3] and [sample.kept for sample in samples] == [
        *(False, False, True)
    ]
    assert samples[2].completion == " [7+1]8;\n8" and samples[2].extra["hint"] == HINT and not samples[2].hint_shown


@pytest.mark.parametrize("outside", [False, True])
def test_hint_and_tool_wrap_each_other_in_either_order(make_trainer, outside):
    voter = MajorityVoteSampler(lambda text: text.strip().splitlines()[-1], num_generations=2)
    sampler = (
        ToolSampler(HintInferSampler(voter, HINT), ADDER)
        if outside
        else HintInferSampler(ToolSampler(voter, ADDER), HINT)
    )

    def answer(prompt):
        written = last_question(prompt).partition("\nA:")[2]
        return "\n8" if written.endswith(";") else "[7+1]" if HINT.strip() in written else " Wait"

    trainer = make_trainer(answer, samplers=[sampler], max_completion_length=64)
    trainer.sample(1)
    samples = trainer.ledger.read(1)
    assert len(samples) == 8 and {sample.completion for sample in samples} == {" [7+1]8;\n8"}


def test_with_a_hint_it_is_off_policy_and_with_a_tool_not():
    plain = ToolSampler(RationaleSampler(), ADDER)
    assert plain.on_policy and not HintInferSampler(plain, HINT).on_policy
    assert not ToolSampler(HintInferSampler(plain, HINT), ADDER).on_policy
    assert not ToolSampler(RationalizationSampler(), ADDER).on_policy


def test_an_empty_hint_is_refused():
    with pytest.raises(ValueError, match="`hint` is empty"):
        HintInferSampler(RationaleSampler(), "")
