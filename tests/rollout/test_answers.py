# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Wrong answers of engines and samplers end the run before they are recorded, and a sound one then goes on."""

import sys
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch

from star_trl import RationaleSampler, ToolSampler
from star_trl.generation import GenerationOutput
from star_trl.tools import Tool
from support.scripted_engine import ScriptedEngine
from support.sums import solve_easy_and_hinted


class ChangedEngine(ScriptedEngine):
    """A scripted engine whose first output is changed, or left out for `None`."""

    def __init__(self, tokenizer, change):
        super().__init__(tokenizer, solve_easy_and_hinted)
        self.change = change

    def generate(self, model, requests, params):
        outputs = super().generate(model, requests, params)
        first = self.change(next(outputs))
        if first is not None:
            yield first
        yield from outputs


def with_tokens(change):
    return lambda output: replace(output, token_ids=change(output.token_ids))


ENGINES = [
    (lambda output: None, "answered 3 of 4 requests: the first one without an output is 3"),
    (lambda output: replace(output, index=-1), "`index=-1`, but the requests are numbered from 0 to 3"),
    (lambda output: replace(output, index=4), "`index=4`"),
    (lambda output: replace(output, index=np.int64(3)), r"`index=np.int64\(3\)`"),
    (lambda output: replace(output, finish_reason="done"), "`finish_reason='done'`, but it must be one of"),
    (lambda output: replace(output, finish_reason=None), "`finish_reason=None`"),
    (with_tokens(lambda ids: ids * 20), r"\d+ token ids, but the request allows 32 \(`max_new_tokens`\)"),
    (with_tokens(lambda ids: [*ids, -1]), "the token id -1"),
    (with_tokens(lambda ids: [10**6, *ids]), "the token id 1000000, but the model has 105 tokens"),
    (with_tokens(lambda ids: list(np.array(ids))), r"token ids of type `int64`.*`.tolist\(\)`"),
    (with_tokens(torch.tensor), r"`token_ids` of type `Tensor`.*`.tolist\(\)`"),
    (with_tokens(lambda ids: [*ids, True]), "token ids of type `bool`"),
    (with_tokens(lambda ids: []), "no token ids with `finish_reason='eos'`"),
    (lambda output: replace(output, logprobs=[0.0]), "`logprobs` that are not a list of"),
    (lambda output: replace(output, logprobs=[float("nan")] * len(output.token_ids)), "`logprobs` that are not fin"),
    (lambda output: (output.index, output.token_ids), "a `tuple`, but must yield objects of `GenerationOutput`"),
    (
        lambda output: replace(output, token_ids=output.token_ids[:-1]),
        r"'eos'`, but its last token id is \d+, which is",
    ),
    (lambda output: replace(output, finish_reason="pause"), r"'pause'`, but the request does not ask for pauses"),
    (lambda output: sys.exit(0), r"The engine `ChangedEngine` called `sys.exit\(0\)`"),
]


@pytest.mark.parametrize(("change", "message"), ENGINES)
def test_a_wrong_answer_of_an_engine_is_not_recorded(make_trainer, tokenizer, change, message):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.engine = ChangedEngine(tokenizer, change)
    with pytest.raises(RuntimeError, match=message):
        trainer.sample(1)
    assert all(len(sample.completion_ids) < 30 for sample in trainer.ledger.read(1))
    sound = make_trainer(solve_easy_and_hinted)
    assert len(sound.sample(1)) == 6
    assert sound.select(1)


def test_a_request_that_is_answered_twice(make_trainer, tokenizer):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.engine = ChangedEngine(tokenizer, lambda output: replace(output, index=0))
    with pytest.raises(RuntimeError, match="answered the request 0 twice.*delete the `samples-"):
        trainer.sample(1)


class ChangedSampler(RationaleSampler):
    """A sampler whose completions a function changes."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def sample(self, prompts, generate):
        return self.change(generate(prompts))


def changed(**values):
    return lambda completions: (replace(completion, **values) for completion in completions)


def exit_after_one(completions):
    yield next(completions)
    sys.exit(0)


SAMPLERS = [
    (lambda completions: list(completions)[1:], "yielded 3 completions for 4 prompts: the first one .* problem 3"),
    (lambda completions: cycle(list(completions)), "problem 3 with sample index 0, which it was not asked for, or tw"),
    (lambda completions: [completion.token_ids for completion in completions], "yielded a `list`, but must yield obj"),
    (changed(loss_mask=[True]), r"a `loss_mask` that is not a list of \d+ bools"),
    (changed(loss_mask=None), r"a `loss_mask` that is not a list of \d+ bools.*None"),
    (changed(finish_reason="end"), "`finish_reason='end'`"),
    (changed(token_ids=[1] * 33, loss_mask=[True] * 33), "33 tokens, more than `max_completion_length=32`"),
    (changed(token_ids=[105], loss_mask=[True]), "the token id 105, but the model has 105 tokens"),
    (changed(hint_shown="no"), "`hint_shown='no'`, but it must be a bool"),
    (changed(extra=None), "`extra=None`, but it must be a dict"),
    (changed(extra={1: "one"}), "which JSON cannot hold: the key 1 is no `str`"),
    (changed(extra={"seen": {(1, 2): "one"}}), "which JSON cannot hold: keys must be str"),
    (exit_after_one, r"The sampler `rationale` called `sys.exit\(0\)`"),
    (lambda completions: sys.exit(0), r"The sampler `rationale` called `sys.exit\(0\)`"),
]


@pytest.mark.parametrize(("change", "message"), SAMPLERS)
def test_a_wrong_completion_of_a_sampler_is_not_recorded(make_trainer, change, message):
    trainer = make_trainer(solve_easy_and_hinted, samplers=[ChangedSampler(change)])
    with pytest.raises(RuntimeError, match=message):
        trainer.sample(1)
    sound = make_trainer(solve_easy_and_hinted, samplers=[RationaleSampler()])
    assert len(sound.sample(1)) == 4
    assert sound.select(1)


def test_an_evaluation_of_fewer_problems_is_refused(make_trainer, tokenizer, problems):
    """Its accuracy would be that of other problems."""
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems)
    trainer.engine = ChangedEngine(tokenizer, lambda output: None)
    with pytest.raises(RuntimeError, match="answered 3 of 4 requests"):
        trainer.evaluate()


def test_sys_exit_in_the_choice_of_problems(make_trainer):
    class Exits(RationaleSampler):
        def select(self, state):
            sys.exit(0)

    with pytest.raises(RuntimeError, match=r"The sampler `rationale` called `sys.exit\(0\)`.*Raise an error instead"):
        make_trainer(solve_easy_and_hinted, samplers=[Exits()]).sample(1)


def test_the_outputs_of_a_paused_completion_are_checked(tokenizer, make_trainer):
    """Also where the engine continues it, with the limit of the tokens that are left."""

    class TooLong(ScriptedEngine):
        def generate(self, model, requests, params):
            for index, request in enumerate(requests):
                ids = tokenizer("<<1=")["input_ids"]
                if request.max_new_tokens is None:
                    yield GenerationOutput(index=index, token_ids=ids, finish_reason="pause")
                else:
                    ids = ids * (request.max_new_tokens // len(ids) + 1)
                    yield GenerationOutput(index=index, token_ids=ids, finish_reason="length")

    trainer = tool_trainer(make_trainer, tokenizer, TooLong)
    with pytest.raises(RuntimeError, match=r"token ids, but the request allows \d\d \("):
        trainer.sample(1)


def tool_trainer(make_trainer, tokenizer, engine, run=lambda call: "1"):
    """A trainer whose model calls a tool between `<<` and `=`, with an engine of the given class."""
    tool = Tool(run=run, begin="<<", end="=", result="{}>>")
    trainer = make_trainer(samplers=[ToolSampler(RationaleSampler(), tool)])
    trainer.engine = engine(tokenizer, lambda prompt: " <<1=")
    return trainer


@pytest.mark.parametrize("text", ["<<1", "<<1=2", "1="])
def test_a_pause_must_be_at_the_end(tokenizer, make_trainer, text):
    class Pauses(ScriptedEngine):
        def generate(self, model, requests, params):
            for index in range(len(requests)):
                yield GenerationOutput(index=index, token_ids=tokenizer(text)["input_ids"], finish_reason="pause")

    trainer = tool_trainer(make_trainer, tokenizer, Pauses)
    with pytest.raises(RuntimeError, match=r"'pause'`, but its text does not end with a pause between .*'<<', '='"):
        trainer.sample(1)
    assert trainer.ledger.read(1) == []


@pytest.mark.parametrize(("index", "message"), [(0, "answered the request 0 twice"), (-1, "`index=-1`, but")])
def test_a_wrong_index_of_a_paused_completion_is_refused(tokenizer, make_trainer, index, message):
    class SameIndex(ScriptedEngine):
        def generate(self, model, requests, params):
            yield from (replace(output, index=index) for output in super().generate(model, requests, params))

    trainer = tool_trainer(make_trainer, tokenizer, SameIndex)
    with pytest.raises(RuntimeError, match=message):
        trainer.sample(1)
    assert trainer.ledger.read(1) == []


def test_sys_exit_in_a_tool_names_the_tool(tokenizer, make_trainer):
    trainer = tool_trainer(make_trainer, tokenizer, ScriptedEngine, lambda call: sys.exit(0))
    with pytest.raises(RuntimeError, match=r"The tool between '<<' and '=' called `sys.exit\(0\)`"):
        trainer.sample(1)


def test_too_many_new_tokens_are_refused_before_they_are_generated(make_trainer):
    class Greedy(RationaleSampler):
        def sample(self, prompts, generate):
            yield from generate(prompts, max_new_tokens=33)

    trainer = make_trainer(solve_easy_and_hinted, samplers=[Greedy()])
    with pytest.raises(ValueError, match=r"`max_new_tokens=33`, .*`max_completion_length=32`"):
        trainer.sample(1)
    assert trainer.engine.prompts == []
