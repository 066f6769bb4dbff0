# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reward models and process reward models: their scores, and what they filter."""

import copy
import json
import math

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForSequenceClassification, LlamaForTokenClassification

from star_trl import RationaleSampler, load_ledger
from star_trl.fine_tuning.gradient_view import training_weights
from star_trl.rewards import AnswerLikelihoodReward, ProcessRewardModel, RewardModel, exact_match_reward
from star_trl.rewards.scoring import Scorer
from support.sums import PROBLEMS, last_question, solve_easy_and_hinted


PROMPTS = ["Q: 1+2?\nA:", "Q: 4+5?\nA:", "Q: 7+1?\nA:"]
COMPLETIONS = [" One and two.\n3", " 9", " Seven.\n\nAnd one more,\nwhich is\n8\n"]
STEPS = [[" One and two.", "3"], [" 9"], [" Seven.", "And one more,", "which is", "8"]]


def as_messages(texts, role):
    return [[{"role": role, "content": text}] for text in texts]


def build(cls, model, num_labels):
    """A classifier of the model's size, whose scores differ enough to tell texts apart."""
    torch.manual_seed(1)
    config = LlamaConfig(**{**model.config.to_dict(), "num_labels": num_labels, "initializer_range": 0.5})
    config.pad_token_id = None  # as in many checkpoints
    return cls(config).eval()


@pytest.fixture
def classifier(model):
    return build(LlamaForSequenceClassification, model, 1)


@pytest.fixture
def step_classifier(model):
    return build(LlamaForTokenClassification, model, 2)


@torch.no_grad()
def forward(model, ids):
    """The logits of one sequence, without padding."""
    return model(input_ids=torch.tensor([ids])).logits[0]


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def step_scores(model, tokenizer, prompt_ids, steps):
    """P(correct) of each step, in one forward pass for each."""
    scores = []
    for step in steps:
        prompt_ids = prompt_ids + encode(tokenizer, step) + encode(tokenizer, "\n")
        scores.append(forward(model, prompt_ids)[-1].softmax(-1)[1].item())
    return scores


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("conversational", [False, True])
def test_scores_of_a_reward_model(classifier, tokenizer, conversational, batch_size):
    prompts, completions = PROMPTS, COMPLETIONS
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    if conversational:
        prompts, completions = as_messages(prompts, "user"), as_messages(completions, "assistant")
        texts = [
            f"<user>{prompt}<eos><assistant>{completion}<eos>"
            for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)
        ]
    expected = [forward(classifier, encode(tokenizer, text)).item() for text in texts]
    reward = RewardModel(classifier, tokenizer, batch_size=batch_size)
    scores = reward(prompts=prompts, completions=completions, completion_ids=[[]] * 3, answer=["3"] * 3)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert max(scores) - min(scores) > 0.1


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize(
    ("aggregate", "function"),
    [("min", min), ("product", math.prod), ("mean", lambda s: sum(s) / len(s)), ("last", lambda s: s[-1])],
)
def test_scores_of_a_process_reward_model(step_classifier, tokenizer, aggregate, function, batch_size):
    expected = [
        step_scores(step_classifier, tokenizer, encode(tokenizer, prompt), steps)
        for prompt, steps in zip(PROMPTS, STEPS, strict=True)
    ]
    extra = {}
    reward = ProcessRewardModel(step_classifier, tokenizer, aggregate=aggregate, batch_size=batch_size)
    scores = reward(
        prompts=PROMPTS, completions=COMPLETIONS, log_extra=lambda name, values: extra.update({name: values})
    )
    assert scores == pytest.approx([function(steps) for steps in expected], abs=1e-5)
    (logged,) = extra.values()
    assert list(extra) == ["LlamaForTokenClassification_steps"]
    assert [pytest.approx(steps, abs=1e-5) for steps in expected] == logged
    assert max(map(max, logged)) - min(map(min, logged)) > 0.1


def test_a_process_reward_model_reads_bos_and_messages(step_classifier, tokenizer):
    with_bos = copy.deepcopy(tokenizer)
    with_bos.bos_token = "<system>"
    expected = step_scores(
        step_classifier, tokenizer, [with_bos.bos_token_id, *encode(tokenizer, PROMPTS[0])], STEPS[0]
    )
    reward = ProcessRewardModel(step_classifier, with_bos)
    assert reward(PROMPTS[:1], COMPLETIONS[:1]) == pytest.approx([min(expected)], abs=1e-5)

    prompt_ids = encode(tokenizer, f"<user>{PROMPTS[0]}<eos><assistant>")
    expected = step_scores(step_classifier, tokenizer, prompt_ids, STEPS[0])
    messages = as_messages(PROMPTS[:1], "user"), as_messages(COMPLETIONS[:1], "assistant")
    reward = ProcessRewardModel(step_classifier, tokenizer)
    assert reward(*messages) == pytest.approx([min(expected)], abs=1e-5)


def test_a_separator_of_several_tokens(step_classifier, tokenizer):
    reward = ProcessRewardModel(step_classifier, tokenizer, step_separator="\n\n")
    ids = encode(tokenizer, "Q: 1?\nA: One\nand.\n\n1\n\n")
    expected = [forward(step_classifier, ids[:end])[-1].softmax(-1)[1].item() for end in (len(ids) - 3, len(ids))]
    assert reward(["Q: 1?\nA:"], [" One\nand.\n\n1"]) == pytest.approx([min(expected)], abs=1e-5)


def test_no_step_is_no_right_step(step_classifier, tokenizer):
    assert ProcessRewardModel(step_classifier, tokenizer)(PROMPTS[:2], ["", "\n \n"]) == [0.0, 0.0]


def test_scores_do_not_depend_on_autocast_and_dropout(classifier, tokenizer):
    expected = RewardModel(classifier, tokenizer)(PROMPTS, COMPLETIONS)
    for layer in classifier.model.layers:
        layer.self_attn.attention_dropout = 0.5
    reward = RewardModel(classifier.train(), tokenizer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert reward(PROMPTS, COMPLETIONS) == expected


@pytest.mark.parametrize("end", ["", "/"])
def test_models_from_a_path(classifier, step_classifier, tokenizer, tmp_path, end):
    for name, model in [("scorer", classifier), ("prm", step_classifier)]:
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    loaded = Scorer(f"{tmp_path}/scorer{end}", thresholds=0.0)
    assert loaded.names == ["scorer"]
    (reward,) = loaded.reward_funcs
    assert reward(PROMPTS, COMPLETIONS) == RewardModel(classifier, tokenizer)(PROMPTS, COMPLETIONS)
    process = ProcessRewardModel(f"{tmp_path}/prm{end}")
    assert process.__name__ == "prm"
    assert process(PROMPTS, COMPLETIONS) == ProcessRewardModel(step_classifier, tokenizer)(PROMPTS, COMPLETIONS)


def test_a_module_takes_the_tokenizer_of_its_name(classifier, tokenizer, tmp_path):
    classifier.save_pretrained(tmp_path / "scorer")
    tokenizer.save_pretrained(tmp_path / "scorer")
    loaded = LlamaForSequenceClassification.from_pretrained(tmp_path / "scorer")
    scorer = Scorer([exact_match_reward, loaded], thresholds=[1.0, None])
    assert scorer.names == ["exact_match_reward", "scorer"]
    scores = scorer(PROMPTS, COMPLETIONS, [[]] * 3, answer=["3", "0", "8"])
    expected = RewardModel(classifier, tokenizer)(PROMPTS, COMPLETIONS)
    assert [score.rewards["scorer"] for score in scores] == expected
    assert [score.passed for score in scores] == [True, False, True]


def test_bad_models_are_refused(model, classifier, step_classifier, tokenizer, tmp_path):
    without_padding = copy.deepcopy(tokenizer)
    without_padding.pad_token = None
    for arguments, error, message in [
        ((step_classifier, tokenizer), ValueError, "has 2 labels, but a RewardModel has 1"),
        ((classifier, without_padding), ValueError, "has no padding token"),
        ((classifier,), ValueError, "give its `processing_class`"),
        ((torch.nn.Linear(2, 1), tokenizer), TypeError, "got a Linear"),
        ((classifier, tokenizer, 0), ValueError, "`batch_size` must be"),
    ]:
        with pytest.raises(error, match=message):
            RewardModel(*arguments)
    for arguments, message in [
        ({"model": classifier}, "has 1 labels, but a ProcessRewardModel has 2"),
        ({"model": step_classifier, "aggregate": "max"}, "one of min, product, mean, last, got 'max'"),
        ({"model": step_classifier, "step_separator": ""}, "`step_separator=''` has no token"),
    ]:
        with pytest.raises(ValueError, match=message):
            ProcessRewardModel(processing_class=tokenizer, **arguments)
    for name, saved in [("base", model), ("three", build(LlamaForSequenceClassification, model, 3))]:
        saved.save_pretrained(tmp_path / name)
        with pytest.raises(ValueError, match=r"no model with a trained head of 1 labels: .* lacks score.weight"):
            RewardModel(str(tmp_path / name))
    with pytest.raises(TypeError, match="got a Linear"):
        Scorer(torch.nn.Linear(2, 1))
    for reward in (RewardModel(classifier, tokenizer), ProcessRewardModel(step_classifier, tokenizer)):
        with pytest.raises(ValueError, match="default of 1.0 means nothing for the scores"):
            Scorer(reward)
        Scorer(reward, thresholds=0.5)
    next(classifier.parameters()).ds_id = 0  # what ZeRO-3 marks its shards with
    with pytest.raises(ValueError, match="loaded under DeepSpeed ZeRO-3"):
        RewardModel(classifier, tokenizer)


def test_the_trainer_moves_what_can_be_moved(make_trainer):
    class OnSomeDevice:
        __name__ = "on_some_device"
        moves = ()

        def __call__(self, completions, **kwargs):
            return [1.0] * len(completions)

        def to(self, device):
            self.moves += (device,)

    reward = OnSomeDevice()
    trainer = make_trainer(reward_funcs=[exact_match_reward, reward], reward_threshold=[1.0, None])
    assert reward.moves == (trainer.accelerator.device,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scores_on_a_gpu(classifier, step_classifier, tokenizer):
    for reward in (RewardModel(classifier, tokenizer), ProcessRewardModel(step_classifier, tokenizer)):
        expected = reward(PROMPTS, COMPLETIONS)
        assert reward.to("cuda").model.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert reward(PROMPTS, COMPLETIONS) == pytest.approx(expected, abs=1e-3)


def right_in_two_ways(prompt):
    """Always right; 2+3 by a rationale of its own."""
    a, b = last_question(prompt).split("?")[0].split("+")
    return f" {'So so' if a == '2' else 'I count'}: {a}, {b}.\n{int(a) + int(b)}"


@pytest.mark.parametrize("conversational", [False, True])
def test_a_reward_model_filters_right_answers(make_trainer, classifier, tokenizer, conversational):
    problems = PROBLEMS
    if conversational:
        columns = ("prompt", "hinted_prompt")
        problems = [
            {**row, **{column: [{"role": "user", "content": row[column]}] for column in columns}} for row in PROBLEMS
        ]

    def answer(prompt):
        return "0" if "7+1?" in last_question(prompt) else right_in_two_ways(prompt)

    reward = RewardModel(classifier, tokenizer)
    completions = [answer(row["prompt"]) for row in PROBLEMS]
    if conversational:
        completions = as_messages(completions, "assistant")
    expected = reward([row["prompt"] for row in problems], completions)
    threshold = sorted(expected[:3])[1]  # of the three right answers two reach it
    trainer = make_trainer(
        answer,
        train_dataset=Dataset.from_list(problems),
        few_shot_examples=None,
        reward_funcs=[exact_match_reward, reward],
        reward_threshold=[1.0, threshold - 1e-4],
        stop_strings=None,
    )
    samples = [sample for sample in trainer.sample(1) if sample.sampler == "rationale"]
    assert [sample.rewards["LlamaForSequenceClassification"] for sample in samples] == pytest.approx(
        expected, abs=1e-5
    )
    kept = {sample.problem_id for sample in samples if sample.kept}
    assert kept == {problem for problem in range(3) if expected[problem] >= threshold}
    assert len(kept) == 2


def test_a_process_reward_model_drops_right_answers_with_a_bad_step(make_trainer, step_classifier, tokenizer):
    reward = ProcessRewardModel(step_classifier, tokenizer)
    prompts = [row["prompt"] for row in PROBLEMS]
    expected = reward(prompts, [right_in_two_ways(prompt) for prompt in prompts])
    worst = min(range(4), key=expected.__getitem__)
    threshold = sum(sorted(expected)[:2]) / 2
    trainer = make_trainer(
        right_in_two_ways,
        reward_funcs=[exact_match_reward, reward],
        reward_threshold=[1.0, threshold],
        num_iterations=1,
    )
    trainer.train()
    samples = {sample.problem_id: sample for sample in trainer.ledger.read(1) if sample.sampler == "rationale"}
    assert {problem for problem, sample in samples.items() if not sample.kept} == {worst}
    assert samples[worst].rewards["exact_match_reward"] == 1.0
    for row in load_ledger(trainer.args.output_dir):
        steps = json.loads(row["extra"])["LlamaForTokenClassification_steps"]
        assert len(steps) == 2  # the rationale and the answer
    assert min(samples[worst].extra["LlamaForTokenClassification_steps"]) < threshold


def test_a_process_reward_model_weighs_samples(make_trainer, step_classifier, tokenizer, monkeypatch):
    trainer = make_trainer(
        solve_easy_and_hinted,
        reward_funcs=[exact_match_reward, ProcessRewardModel(step_classifier, tokenizer, aggregate="product")],
        reward_threshold=[1.0, None],
        reward_weights=[0.0, 1.0],
        sample_weighting="reward",
        num_iterations=1,
    )
    weights = []

    def weigh(*args):
        found, metrics = training_weights(*args)
        weights.extend(found)
        return found, metrics

    monkeypatch.setattr("star_trl.star_trainer.training_weights", weigh)
    trainer.train()
    kept = [sample for sample in trainer.ledger.read(1) if sample.kept]
    assert {sample.problem_id for sample in kept} == {0, 1, 2}
    assert sorted(weights) == sorted(sample.rewards["LlamaForTokenClassification"] for sample in kept)
    assert len(set(weights)) > 1


def test_reward_processing_classes_are_those_of_grpo(make_trainer, classifier, tokenizer):
    """One for each function, of which only that of a model is used."""
    settings = {"reward_threshold": [1.0, None], "samplers": [RationaleSampler()]}
    trainer = make_trainer(
        lambda prompt: " 3",
        reward_funcs=[exact_match_reward, classifier],
        reward_processing_classes=[None, tokenizer],
        **settings,
    )
    prompts = [row["prompt"] for row in PROBLEMS]
    expected = RewardModel(classifier, tokenizer)(prompts, [" 3"] * 4)
    assert [list(sample.rewards.values())[1] for sample in trainer.sample(1)] == pytest.approx(expected)
    with pytest.raises(ValueError, match="not loaded from anywhere"):
        make_trainer(reward_funcs=[exact_match_reward, classifier], reward_threshold=[1.0, None])


def likelihood(model, tokenizer, head, answer):
    """The mean log-probability of the answer's tokens behind the head, in one forward pass."""
    ids, answer_ids = encode(tokenizer, head), encode(tokenizer, answer)
    logprobs = forward(model, ids + answer_ids).log_softmax(-1)
    places = range(len(ids), len(ids) + len(answer_ids))
    return sum(logprobs[place - 1, (ids + answer_ids)[place]].item() for place in places) / len(answer_ids)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("conversational", [False, True])
def test_the_likelihood_of_the_answer_behind_the_rationale(model, tokenizer, conversational, relative, batch_size):
    # The second completion is an answer without a rationale, and the third one has a wrong answer.
    completions = [" One and two.\n3", " Nine", " Seven.\n8\n 9 \n"]
    rationales, answers = [" One and two.", "", " Seven.\n8"], ["3", "9", "8 and 1"]
    prompts, heads = PROMPTS, PROMPTS
    if conversational:
        prompts, completions = as_messages(prompts, "user"), as_messages(completions, "assistant")
        heads = [f"<user>{prompt}<eos><assistant>" for prompt in heads]
    expected = [
        likelihood(model, tokenizer, f"{head}{rationale}\n", answer)
        for head, rationale, answer in zip(heads, rationales, answers, strict=True)
    ]
    without = [likelihood(model, tokenizer, f"{head}\n", answer) for head, answer in zip(heads, answers, strict=True)]
    logged = {}
    reward = AnswerLikelihoodReward(
        model, tokenizer, answer_prefix="\n", relative=relative, batch_size=batch_size, answer_column="right"
    )
    scores = reward(prompts, completions, log_metric=lambda name, value: logged.update({name: value}), right=answers)
    if relative:
        assert scores == pytest.approx([a - b for a, b in zip(expected, without, strict=True)], abs=1e-5)
    else:
        assert scores == pytest.approx(expected, abs=1e-5)
    lengths = [len(encode(tokenizer, answer)) for answer in answers]
    for name, values in (("answer_perplexity", expected), ("answer_perplexity_without_rationale", without)):
        total = sum(value * length for value, length in zip(values, lengths, strict=True))
        assert logged[name] == pytest.approx(math.exp(-total / sum(lengths)), rel=1e-4)


def test_answers_that_are_missing_or_no_text(model, tokenizer):
    reward = AnswerLikelihoodReward(model, tokenizer)
    first, nothing = reward(PROMPTS[:2], COMPLETIONS[:2], answer=["3", None])
    assert first < 0 and nothing is None
    with pytest.raises(ValueError, match="needs answers as text in the column 'answer', got 3"):
        reward(PROMPTS[:1], COMPLETIONS[:1], answer=[3])
    with pytest.raises(ValueError, match="column 'answer', which the problems do not have"):
        reward(PROMPTS[:1], COMPLETIONS[:1], target=["3"])
    with pytest.raises(ValueError, match="`answer_prefix` must not be empty"):
        AnswerLikelihoodReward(model, tokenizer, answer_prefix="")


@pytest.mark.parametrize(
    ("completion", "rationale"),
    [
        ("#### 3", ""),
        (" 1 and 2.\n####3", " 1 and 2."),
        (" The #### is a mark.\n#### 4\n", " The #### is a mark."),
        (" No end", " No end"),
    ],
)
def test_where_a_rationale_ends(model, tokenizer, completion, rationale):
    reward = AnswerLikelihoodReward(model, tokenizer)
    expected = likelihood(model, tokenizer, f"{PROMPTS[0]}{rationale}\n#### ", "3")
    assert reward(PROMPTS[:1], [completion], answer=["3"]) == pytest.approx([expected], abs=1e-5)


def test_answers_are_checked_before_anything_is_sampled(make_trainer, model, tokenizer):
    reward = AnswerLikelihoodReward(model, tokenizer)
    for problems, said in (
        ([{**row, "answer": int(row["answer"])} for row in PROBLEMS], "needs answers as text"),
        ([{"prompt": row["prompt"]} for row in PROBLEMS], "which the problems do not have"),
    ):
        with pytest.raises(ValueError, match=said):
            make_trainer(reward_funcs=reward, reward_threshold=-1.0, train_dataset=Dataset.from_list(problems))


def test_a_negative_reward_is_no_weight(make_trainer, model, tokenizer):
    trainer = make_trainer(
        solve_easy_and_hinted,
        reward_funcs=AnswerLikelihoodReward(copy.deepcopy(model), tokenizer, answer_prefix="\n"),
        reward_threshold=-100.0,
        sample_weighting="reward",
        html_report=False,
    )
    with pytest.raises(ValueError, match="by its reward -.* negative weight drives the model away"):
        trainer.train()


def test_rationales_that_make_the_answer_likelier_are_kept(make_trainer, model, tokenizer):
    """The right answer is judged, whatever the completion answers."""
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)  # whose opinions differ
    trainer = make_trainer(
        lambda prompt: f" {last_question(prompt)[:3]} is what I count.\n0",
        num_iterations=1,
        reward_funcs=AnswerLikelihoodReward(copy.deepcopy(model), tokenizer, answer_prefix="\n", relative=True),
        reward_threshold=0.0,
        html_report=False,
    )
    trainer.sample(1)
    rows = load_ledger(trainer.args.output_dir)
    answers = [trainer.train_dataset[number]["answer"] for number in rows["problem_id"]]
    reward = AnswerLikelihoodReward(model, tokenizer, answer_prefix="\n", relative=True)
    scores = reward(rows["prompt"], rows["completion"], answer=answers)
    assert list(rows["reward"]) == pytest.approx(scores, abs=1e-5)
    assert list(rows["kept"]) == [score >= 0 for score in scores]
    assert {True, False} == set(rows["kept"])
