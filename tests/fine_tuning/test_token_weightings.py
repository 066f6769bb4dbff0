# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
One step of the trainer with weights of single tokens, or with a teacher's distributions, against autograd of the
formulas, on the model with five tokens of `test_gradient_view.py`, whose completions can all be enumerated.
"""

import copy
import math

import pytest
import test_gradient_view as view
import torch
from datasets import Dataset
from peft import LoraConfig
from trl.experimental.gkd import GKDTrainer

from star_trl import HintInferSampler, RationaleSampler, RationalizationSampler, RolloutSampler
from star_trl.fine_tuning.token_references import token_references
from star_trl.fine_tuning.token_terms import clipped_ratio, divergence, shaped_policy


make_step, model, tokenizer, weights = view.make_step, view.model, view.tokenizer, view.weights  # fixtures
WRONG = {"a?": "ba?", "b?": "ab?"}
HINTED = [{**problem, "wrong_hint": WRONG[problem["prompt"]]} for problem in view.PROBLEMS]
DRAWS = len(view.COMPLETIONS)
KINDS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jensen_shannon": 0.5}
SPLITS = [
    {},
    {"per_device_train_batch_size": 10, "gradient_accumulation_steps": 17},
    {"packing": True, "max_length": 64},
]


class HintedEnumeration(view.Enumeration):
    """Every completion once, for a prompt with a hint."""

    name = "hinted enumeration"
    prompt_column = "hinted_prompt"


def distributions(model, prompt_ids, tokens):
    """Log-probabilities of all tokens at the places of a completion: (tokens, vocabulary), with their graph."""
    logits = model(input_ids=torch.tensor([prompt_ids + tokens])).logits[0]
    return logits[len(prompt_ids) - 1 : -1].log_softmax(-1)


def of_tokens(model, prompt_ids, tokens):
    return distributions(model, prompt_ids, tokens).gather(1, torch.tensor(tokens)[:, None])[:, 0]


def ascent(model, terms):
    """Gradient of the sum of some terms, each divided as `loss_normalization="problems"` divides it."""
    total = torch.stack([term.sum() for term in terms]).sum() / (len(view.PROBLEMS) * DRAWS)
    gradients = torch.autograd.grad(total, list(view.trainable(model).values()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def enumerated(model, tokenizer):
    """Problem, completion, and the log-probabilities of its tokens with, without and with a wrong hint."""
    for problem in HINTED:
        ids = {column: tokenizer(problem[column])["input_ids"] for column in ("prompt", "hinted_prompt", "wrong_hint")}
        for tokens in view.COMPLETIONS:
            with torch.no_grad():
                hinted, wrong = (of_tokens(model, ids[column], tokens) for column in ("hinted_prompt", "wrong_hint"))
            yield problem, tokens, hinted, of_tokens(model, ids["prompt"], tokens), wrong


@pytest.mark.parametrize("split", SPLITS, ids=["one batch", "gradient accumulation", "packing"])
def test_a_teacher_weighs_the_tokens_of_right_and_wrong_samples(make_step, model, tokenizer, split):
    """The sum over all completions, of which most are wrong or cut, with weights of at most 1."""
    expected = ascent(
        model,
        [
            (hinted - plain).detach().clamp(-1, 1) * plain
            for _, _, hinted, plain, _ in enumerated(model.eval(), tokenizer)
        ],
    )
    step, trainer = make_step(HINTED, [view.Enumeration()], sample_weighting="teacher", teacher_clip=1.0, **split)
    assert expected.abs().max() > 1e-3
    assert (step - expected).abs().max() < 1e-5
    selected = trainer.select(1)
    assert {sample.kept for sample in selected} == {True, False} and len(selected) == len(view.PROBLEMS) * DRAWS


def test_its_expectation_is_the_gradient_of_the_divergence(model, tokenizer):
    """On the model's own samples: that of the reverse divergence after every prefix, by its probability."""
    model.eval()
    parameters = list(view.trainable(model).values())
    sampled = exact = 0.0
    for problem in view.PROBLEMS:
        prompt, hint = (tokenizer(problem[column])["input_ids"] for column in ("prompt", "hinted_prompt"))
        for tokens in view.COMPLETIONS:
            plain = of_tokens(model, prompt, tokens)
            with torch.no_grad():
                gap = of_tokens(model, hint, tokens) - plain
            sampled = sampled + plain.sum().exp().detach() * (gap * plain).sum()
        prefixes = {
            tuple(tokens[:length])
            for tokens in view.COMPLETIONS
            for length in range(view.LENGTH)
            if length < len(tokens)
        }
        for prefix in map(list, prefixes):
            if view.EOS in prefix:
                continue
            student = distributions(model, prompt, [*prefix, view.PAD])
            probability = student[:-1].gather(1, torch.tensor(prefix, dtype=torch.long)[:, None]).sum().exp().detach()
            with torch.no_grad():
                teacher = distributions(model, hint, [*prefix, view.PAD])[-1]
            exact = exact - probability * divergence(student[-1:], teacher[None], "reverse_kl").sum()
    sampled, exact = (
        torch.cat([gradient.flatten() for gradient in torch.autograd.grad(total, parameters)])
        for total in (sampled, exact)
    )
    # A completion may also have the padding token, which is not among those that are enumerated.
    assert torch.nn.functional.cosine_similarity(sampled, exact, dim=0) > 0.999
    assert (sampled - exact).norm() < 0.05 * exact.norm()


def test_a_wrong_hint_is_what_the_right_one_is_compared_with(make_step, model, tokenizer):
    expected = ascent(
        model, [(hinted - wrong) * plain for _, _, hinted, plain, wrong in enumerated(model.eval(), tokenizer)]
    )
    step, _ = make_step(HINTED, [view.Enumeration()], sample_weighting="teacher", wrong_hint_column="wrong_hint")
    assert expected.abs().max() > 1e-3
    assert (step - expected).abs().max() < 1e-5


def test_the_reward_sets_the_sign_and_the_teacher_the_size(make_step, model, tokenizer):
    epsilon, terms = 0.3, []
    for problem, tokens, hinted, plain, _ in enumerated(model.eval(), tokenizer):
        rewards = [float(view.right(each, problem)) for each in view.COMPLETIONS]
        advantage = (float(view.right(tokens, problem)) - sum(rewards) / DRAWS) * DRAWS / (DRAWS - 1)
        ratio = (math.copysign(1, advantage) * (hinted - plain)).exp().detach()
        terms.append(advantage * ratio.clamp(1 - epsilon, 1 + epsilon) * plain)
    expected = ascent(model, terms)
    step, _ = make_step(HINTED, [view.Enumeration()], sample_weighting="teacher_advantage", epsilon=epsilon)
    assert expected.abs().max() > 1e-3
    assert (step - expected).abs().max() < 1e-5


@pytest.mark.parametrize("split", SPLITS, ids=["one batch", "gradient accumulation", "packing"])
def test_a_clipped_ratio_corrects_right_samples_for_the_hint(make_step, model, tokenizer, split):
    """Of each token, up to a limit beyond which it has no gradient."""
    cases = [
        (hinted, plain)
        for problem, tokens, hinted, plain, _ in enumerated(model.eval(), tokenizer)
        if view.right(tokens, problem)
    ]
    expected = ascent(model, [(plain - hinted).exp().clamp(max=1.2) for hinted, plain in cases])
    step, trainer = make_step(HINTED, [HintedEnumeration()], sample_weighting="clipped_ratio", **split)
    assert expected.abs().max() > 1e-3
    assert (step - expected).abs().max() < 1e-5
    ratios = torch.cat([(plain - hinted).exp() for hinted, plain in cases])
    factors = ratios.masked_fill(ratios > 1.2, 0.0)
    metrics = {name: value for entry in trainer.state.log_history for name, value in entry.items()}
    if not split:  # over all tokens, not as a mean over batches
        limited = (ratios > 1.2).double().mean().item()
        assert metrics["token_weights/clipped_ratio"] == pytest.approx(limited, abs=1e-3)
        size = factors.sum() ** 2 / factors.square().sum() / len(factors)
        assert metrics["token_weights/effective_sample_size"] == pytest.approx(size.item(), rel=1e-3)


def test_shaping_weighs_the_tokens_of_rationalized_samples(make_step, model, tokenizer):
    """Samples that were drawn without a hint keep the likelihood."""
    kept = [row for row in enumerated(model.eval(), tokenizer) if view.right(row[1], row[0])]
    shaped = [plain.exp() / (plain.exp() + 0.1) for _, _, _, plain, _ in kept]
    expected = ascent(model, [*shaped, *(plain for _, _, _, plain, _ in kept)])
    step, _ = make_step(HINTED, [view.Enumeration(), HintedEnumeration()], sample_weighting="policy_shaping")
    assert expected.abs().max() > 1e-3
    assert (step - expected).abs().max() < 1e-5


@pytest.mark.parametrize("term", [lambda ratio: clipped_ratio(ratio, 0.2), shaped_policy], ids=["clipped", "shaped"])
def test_factors_are_those_of_finite_differences(term):
    ratios = torch.tensor([-8.0, -1.0, -0.01, 0.0, 0.1, 0.5], dtype=torch.float64)
    step = 1e-6
    numeric = (term(ratios + step).terms - term(ratios - step).terms) / (2 * step)
    assert torch.allclose(term(ratios).factors, numeric, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_those_of_trl(kind):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (4 * torch.randn(6, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    theirs = GKDTrainer.generalized_jsd_loss(student, teacher, beta=KINDS[kind], reduction="none").sum(-1)
    assert torch.allclose(divergence(student, teacher, kind), theirs)


@pytest.mark.parametrize("teacher_model", ["original", "current"])
@pytest.mark.parametrize(("kind", "lora"), [*((kind, False) for kind in KINDS), ("reverse_kl", True)])
def test_two_steps_of_distillation(make_step, model, tokenizer, kind, lora, teacher_model):
    """Against plain descent on the divergences: whether the teacher changes, and that it has no gradient."""
    peft_config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    settings = {"distillation": kind, "teacher_model": teacher_model, "initial_steps": 2, "teacher_clip": 2.0}
    step, trainer = make_step(HINTED, [view.Enumeration()], peft_config=peft_config if lora else None, **settings)
    student = trainer.model.eval()  # the original weights are in it again
    prompts, hints = (
        [tokenizer(problem[column])["input_ids"] for problem in HINTED] for column in ("prompt", "hinted_prompt")
    )

    def teach():
        with torch.no_grad():
            return [distributions(student, hint, tokens) for hint in hints for tokens in view.COMPLETIONS]

    targets = teach()
    before = torch.cat([value.detach().flatten() for value in view.trainable(student).values()])
    for _ in range(2):
        targets = targets if teacher_model == "original" else teach()
        found = [distributions(student, prompt, tokens) for prompt in prompts for tokens in view.COMPLETIONS]
        terms = [-divergence(*pair, kind).clamp(max=2.0) for pair in zip(found, targets, strict=True)]
        change = ascent(student, terms)
        with torch.no_grad():
            for value, part in zip(
                view.trainable(student).values(),
                change.split([v.numel() for v in view.trainable(student).values()]),
                strict=True,
            ):
                value += part.view_as(value)
    after = torch.cat([value.detach().flatten() for value in view.trainable(student).values()])
    assert (after - before).abs().max() > 1e-3
    assert (step - (after - before)).abs().max() < 2e-5


@pytest.mark.parametrize("teacher_model", ["original", "current"])
def test_the_teacher_is_the_model_that_is_asked_for(make_trainer, model, tokenizer, teacher_model):
    """In the second iteration, in which the model is no longer the original one."""
    original = copy.deepcopy(model).eval()
    trainer = make_trainer(
        train_dataset=Dataset.from_list(view.PROBLEMS),
        few_shot_examples=None,
        samplers=[view.Enumeration()],
        reward_funcs=view.ends_right,
        max_completion_length=view.LENGTH,
        sample_weighting="teacher",
        teacher_model=teacher_model,
        stop_strings=None,
        num_iterations=1,
    )
    trainer.train()
    samples = trainer.ledger.read(1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = token_references(trainer.task, trainer.args, trainer.policy, trainer.keep_original_weights(), samples)
    teacher = original if teacher_model == "original" else trainer.model.eval()
    hints = [tokenizer(problem["hinted_prompt"])["input_ids"] for problem in view.PROBLEMS]
    with torch.no_grad():
        expected = [of_tokens(teacher, hints[sample.problem_id], sample.completion_ids) for sample in samples]
    assert torch.allclose(
        torch.cat(expected), torch.tensor([value for values in found for value in values]), atol=1e-4
    )
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sample_weighting": "teacher", "train_dataset": Dataset.from_list([{"prompt": "a?", "answer": "a"}])},
            "no column `hinted_prompt`.*where the model with the hint is the teacher",
        ),
        (
            {"sample_weighting": "teacher", "samplers": [RationaleSampler(), RationalizationSampler()]},
            r"samplers \['rationalization'\] draw with a hint. Give `samplers=\[RationaleSampler\(\)\]`",
        ),
        ({"distillation": "reverse_kl", "samplers": [RationalizationSampler()]}, "`distillation='reverse_kl'` lets"),
        ({"sample_weighting": "teacher_advantage"}, "`rationale` draws one"),
        ({"distillation": "kl"}, "must be one of forward_kl, reverse_kl, jensen_shannon"),
        ({"distillation": "reverse_kl", "sample_weighting": "advantage"}, "Leave one of them out"),
        ({"distillation": "reverse_kl", "packing": True, "max_length": 64}, "a row must be one sample"),
        ({"distillation": "reverse_kl", "loss_type": "dft"}, "`distillation` replaces it"),
        ({"distillation": "reverse_kl", "gradient_view_samples": 4}, "weigh tokens. Set it to 0"),
        ({"distillation": "reverse_kl", "max_samples_per_problem": 1}, "leaves draws of a problem out"),
        ({"distillation": "reverse_kl", "wrong_hint_column": "wrong_hint"}, "is read by `sample_weighting` 'teacher'"),
        ({"sample_weighting": "teacher", "wrong_hint_column": "wrong"}, "no column `wrong`"),
        ({"sample_weighting": "teacher", "wrong_hint_column": "hinted_prompt"}, "with another, wrong hint"),
        ({"sample_weighting": "teacher", "teacher_clip": 0.0}, "`teacher_clip` must be positive"),
        ({"sample_weighting": "clipped_ratio", "epsilon": 0.0}, "`epsilon` must be positive"),
        ({"sample_weighting": "clipped_ratio", "sample_iterations": 2}, "Set `sample_iterations=1`"),
        (
            {
                "sample_weighting": "clipped_ratio",
                "samplers": [RationaleSampler(), HintInferSampler(RationaleSampler(), "Think.")],
            },
            r"\['hint_infer'\] add a hint after it",
        ),
        ({"sample_weighting": "policy_shaping", "samplers": [RationaleSampler()]}, r"\['rationale'\] use none"),
        (
            {"sample_weighting": "clipped_ratio", "samplers": [RolloutSampler(print)]},
            "`sample_weighting='clipped_ratio'` computes .* make prompts of their own",
        ),
        ({"distillation": "reverse_kl", "samplers": [RolloutSampler(print)]}, "`distillation='reverse_kl'` computes"),
    ],
)
def test_what_does_not_fit_together(make_trainer, changes, message):
    arguments = {"train_dataset": Dataset.from_list(HINTED), "few_shot_examples": None, **changes}
    with pytest.raises(ValueError, match=message):
        make_trainer(**arguments)


def test_liger_gives_no_logits_to_compare(make_args):
    with pytest.raises(ValueError, match="`use_liger_kernel=True`. Leave them out"):
        make_args(distillation="reverse_kl", use_liger_kernel=True)
