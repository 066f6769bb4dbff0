# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
One step of the trainer against the exact gradient of J, on a model so small that every completion can be enumerated:
five tokens, completions of at most three.
"""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from star_trl import Completion, RationaleSampler, RationalizationSampler, Sampler, STaRTrainer, mixture
from star_trl.fine_tuning.gradient_view import GradientView
from star_trl.fine_tuning.logprobs import sequence_logprobs
from star_trl.fine_tuning.sample_weights import sample_weights
from support.samples import make_sample


PAD, EOS = 0, 1
LENGTH = 3


@pytest.fixture(scope="module")
def tokenizer():
    vocab = {token: index for index, token in enumerate(["<pad>", "<eos>", "a", "b", "?"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<pad>", "<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


@pytest.fixture(scope="module")
def weights(tokenizer):
    """Of a model that is right half of the time, and mostly with a hint."""
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = 0.0
        for problem, answer in zip(PROBLEMS, (2, 3), strict=True):
            hinted, plain = (tokenizer(problem[column])["input_ids"] for column in ("hinted_prompt", "prompt"))
            loss = loss - logprob(model, hinted, [answer, EOS])
            loss = loss - 0.5 * (logprob(model, plain, [2, EOS]) + logprob(model, plain, [3, EOS]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


@pytest.fixture
def model(weights):
    model = build()
    model.load_state_dict(weights)
    return model


def build():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


# The right answer to a prompt is its first letter; the hint repeats it.
PROBLEMS = [
    {"prompt": "a?", "hinted_prompt": "aa?", "answer": "a"},
    {"prompt": "b?", "hinted_prompt": "bb?", "answer": "b"},
]

ENDED = [[*begin, EOS] for n in range(LENGTH) for begin in itertools.product((0, 2, 3, 4), repeat=n)]
CUT = [list(tokens) for tokens in itertools.product((0, 2, 3, 4), repeat=LENGTH)]
COMPLETIONS = [*ENDED, *CUT]


def ends_right(completions, answer, **kwargs):
    """The last letter is the answer."""
    return [float(completion.endswith(right)) for completion, right in zip(completions, answer, strict=True)]


def right(tokens, problem):
    letter = {"a": 2, "b": 3}[problem["answer"]]
    return tokens[-1] == EOS and [token for token in tokens if token > EOS][-1:] == [letter]


class Enumeration(Sampler):
    """Every completion once: the proposal that makes all of them equally likely."""

    name = "enumeration"
    num_generations = len(COMPLETIONS)
    temperature = 1.0

    def sample(self, prompts, generate):
        for prompt in prompts:
            tokens = COMPLETIONS[prompt.sample_index]
            yield Completion(
                prompt=prompt,
                token_ids=tokens,
                loss_mask=[True] * len(tokens),
                finish_reason="eos" if tokens[-1] == EOS else "length",
                logprobs=[-math.log(len(COMPLETIONS)) / len(tokens)] * len(tokens),
            )


def trainable(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def logprob(model, prompt_ids, tokens):
    """Log-probability of a completion, with its graph."""
    ids = torch.tensor([prompt_ids + tokens])
    logits = model(input_ids=ids).logits[0].log_softmax(-1)
    return sum(logits[len(prompt_ids) + index - 1, token] for index, token in enumerate(tokens))


def score_functions(model, tokenizer, problem, column="prompt"):
    """Of every right completion: its probability behind a prompt, and grad log M behind the plain prompt."""
    rows = []
    for tokens in ENDED:
        if right(tokens, problem):
            with torch.no_grad():
                probability = logprob(model, tokenizer(problem[column])["input_ids"], tokens).exp()
            log_probability = logprob(model, tokenizer(problem["prompt"])["input_ids"], tokens)
            gradients = torch.autograd.grad(log_probability, list(trainable(model).values()))
            rows.append((probability, torch.cat([gradient.flatten() for gradient in gradients])))
    return rows


def expectation(rows):
    """Of R grad log M, and of its square, for one draw."""
    return sum(p * gradient for p, gradient in rows), sum(p * gradient**2 for p, gradient in rows)


@pytest.fixture
def make_step(make_trainer, model, tokenizer, tmp_path):
    """The gradient of one step of the trainer, by plain gradient descent with a learning rate of 1."""

    def make(
        problems, samplers, seed=0, peft_config=None, reward_funcs=ends_right, **changes
    ) -> tuple[torch.Tensor, STaRTrainer]:
        settings = {
            "output_dir": str(tmp_path / f"{len(list(tmp_path.iterdir()))}"),
            "num_iterations": 1,
            "initial_steps": 1,
            "learning_rate": 1.0,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "per_device_train_batch_size": 10_000,
            "max_completion_length": LENGTH,
            "stop_strings": None,
            "loss_normalization": "problems",
            "seed": seed,
            "save_strategy": "no",
            **changes,
        }
        trainer = make_trainer(
            train_dataset=Dataset.from_list(problems),
            few_shot_examples=None,
            samplers=samplers,
            reward_funcs=reward_funcs,
            optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 1.0}),
            peft_config=peft_config,
            **settings,
        )
        before = {name: value.detach().clone() for name, value in trainable(trainer.model).items()}
        trainer.train()
        step = torch.cat(
            [(value.detach() - before[name]).flatten() for name, value in trainable(trainer.model).items()]
        )
        trainer.keep_original_weights().restore(trainer.model)
        return step, trainer

    return make


def z_scores(step, mean, second_moment, draws):
    error = ((second_moment - mean**2).clamp(min=1e-12) / draws).sqrt()
    return ((step - mean) / error)[error > 1e-5]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 20},
        {"packing": True, "max_length": 64},
        {"gradient_checkpointing": True},
    ],
    ids=["one batch", "gradient accumulation", "packing", "gradient checkpointing"],
)
def test_a_step_on_enumerated_samples_is_the_exact_gradient(make_step, model, tokenizer, changes):
    """Each completion is drawn once from a uniform proposal; its importance weight is its probability."""
    exact = sum(expectation(score_functions(model, tokenizer, problem))[0] for problem in PROBLEMS) / len(PROBLEMS)
    step, _ = make_step(
        PROBLEMS, [Enumeration()], sample_weighting="importance", importance_sampling_cap=None, **changes
    )
    assert exact.abs().max() > 0.01
    assert (step - exact).abs().max() < 1e-5


def test_a_step_of_an_adapter_is_the_exact_gradient(make_step, tokenizer):
    peft_config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    settings = {"sample_weighting": "importance", "importance_sampling_cap": None, "peft_config": peft_config}
    step, trainer = make_step(PROBLEMS, [Enumeration()], **settings)
    trainer.model.eval()
    exact = sum(expectation(score_functions(trainer.model, tokenizer, row))[0] for row in PROBLEMS) / len(PROBLEMS)
    assert exact.abs().max() > 0.001
    assert (step - exact).abs().max() < 1e-5


def test_on_policy_samples_give_the_gradient(make_step, model, tokenizer):
    """Within the error of the draws; failed ones count, repeated ones count several times."""
    draws = 1500
    mean, second = expectation(score_functions(model, tokenizer, PROBLEMS[0]))
    step, trainer = make_step(PROBLEMS[:1], [RationaleSampler(num_generations=draws, temperature=1.0)])
    scores = z_scores(step, mean, second, draws)
    assert len(scores) > 100 and scores.abs().max() < 5 and scores.square().mean() < 2
    assert mean.norm() > 3 * ((second - mean**2).clamp(min=0) / draws).sum().sqrt()  # more than noise


class RationalizeAll(RationalizationSampler):
    """For every problem, solved or not."""

    def select(self, state):
        return state.candidates


def test_importance_weights_make_rationalization_unbiased(make_step, model, tokenizer):
    draws = 3000
    problem = PROBLEMS[0]
    mean, _ = expectation(score_functions(model, tokenizer, problem))
    proposed = score_functions(model, tokenizer, problem, "hinted_prompt")
    biased, _ = expectation(proposed)
    plain = score_functions(model, tokenizer, problem)
    weights = [p / q for (p, _), (q, _) in zip(plain, proposed, strict=True)]
    second = sum(q * (weight * g) ** 2 for weight, (q, g) in zip(weights, proposed, strict=True))
    settings = {"importance_sampling_cap": None, "sample_weighting": "importance"}
    sampler = RationalizeAll(num_generations=draws, temperature=1.0)
    step, trainer = make_step([problem], [sampler], **settings)
    scores = z_scores(step, mean, second, draws)
    assert scores.abs().max() < 5 and scores.square().mean() < 2
    # Without the weights it is another direction, by far more than the noise.
    step, _ = make_step([problem], [sampler])
    assert z_scores(step, biased, expectation(proposed)[1], draws).square().mean() < 2
    assert z_scores(step, mean, expectation(proposed)[1], draws).square().mean() > 10
    metrics = trainer.outer_run.history[-1]
    assert 0 < metrics["importance/effective_sample_size"] < 1
    kept_mean = sum(q * weight for weight, (q, _) in zip(weights, proposed, strict=True)) / sum(q for q, _ in proposed)
    assert metrics["importance/mean"] == pytest.approx(kept_mean.item(), rel=0.2)


def test_rationalizing_what_failed_counts_it_twice(make_step, model, tokenizer):
    """
    The paper's order: rationalization proposes where the rationale failed, with probability 1 - J_i. Both add up to
    (2 - J_i) grad J_i.
    """
    copies = 1500
    problem = PROBLEMS[0]
    plain = score_functions(model, tokenizer, problem)
    solved = sum(p for p, _ in plain)
    mean, second = expectation(plain)
    proposed = score_functions(model, tokenizer, problem, "hinted_prompt")
    corrected = sum(p**2 / q * g**2 for (p, g), (q, _) in zip(plain, proposed, strict=True))
    samplers = [RationaleSampler(temperature=1.0), RationalizationSampler(temperature=1.0)]
    settings = {"importance_sampling_cap": None, "sample_weighting": "importance"}
    step, _ = make_step([problem] * copies, samplers, **settings)
    # No draw of a problem has both terms.
    scores = z_scores(step, (2 - solved) * mean, second + (1 - solved) * corrected, copies)
    assert scores.abs().max() < 5 and scores.square().mean() < 2
    step, _ = make_step([problem] * copies, samplers)
    uniform = mean + (1 - solved) * expectation(proposed)[0]
    second_uniform = second + (1 - solved) * expectation(proposed)[1]
    assert z_scores(step, uniform, second_uniform, copies).square().mean() < 2
    assert z_scores(step, (2 - solved) * mean, second_uniform, copies).square().mean() > 10


def test_a_mixture_is_unbiased(make_step, model, tokenizer):
    """No problem has two proposals, so that none counts twice."""
    copies, share = 1000, 0.5
    problem = PROBLEMS[0]
    plain = score_functions(model, tokenizer, problem)
    mean, second = expectation(plain)
    proposed = score_functions(model, tokenizer, problem, "hinted_prompt")
    corrected = sum(p**2 / q * g**2 for (p, g), (q, _) in zip(plain, proposed, strict=True))
    samplers = mixture(
        [RationaleSampler(temperature=1.0), RationalizationSampler(temperature=1.0)], [1 - share, share]
    )
    settings = {"importance_sampling_cap": None, "sample_weighting": "importance"}
    step, _ = make_step([problem] * copies, samplers, **settings)
    scores = z_scores(step, mean, (1 - share) * second + share * corrected, copies)
    assert len(scores) > 100 and scores.abs().max() < 5 and scores.square().mean() < 2


def test_advantages_have_less_variance(make_step, model, tokenizer):
    """And the same mean: a baseline changes nothing in expectation."""

    seeds, copies, draws = 16, 4, 16
    mean, _ = expectation(score_functions(model, tokenizer, PROBLEMS[0]))
    samplers = [RationaleSampler(num_generations=draws, temperature=1.0)]
    steps = {
        weighting: torch.stack(
            [
                make_step(PROBLEMS[:1] * copies, samplers, seed=seed, sample_weighting=weighting)[0]
                for seed in range(seeds)
            ]
        )
        for weighting in ("uniform", "advantage")
    }
    variance = {weighting: values.var(0).sum() for weighting, values in steps.items()}
    assert variance["advantage"] < 0.8 * variance["uniform"]
    along = steps["advantage"] @ mean / mean.square().sum()  # 1 on average
    assert abs(along.mean() - 1) < 3 * along.std() / seeds**0.5 < 0.25


def last_view(trainer):
    prefix = "policy_gradient/"
    history = trainer.outer_run.history[-1]
    return {name.removeprefix(prefix): value for name, value in history.items() if name.startswith(prefix)}


def test_the_logged_numbers_are_those_of_the_view(make_step, model, tokenizer):
    """J on- and off-policy, the mean importance weight and the shares of the gradient, against their exact values."""
    draws = 1000
    problem = PROBLEMS[0]
    plain = score_functions(model, tokenizer, problem)
    proposed = score_functions(model, tokenizer, problem, "hinted_prompt")
    solved, solved_with_hint = (float(sum(p for p, _ in rows)) for rows in (plain, proposed))
    samplers = [
        RationaleSampler(num_generations=draws, temperature=1.0),
        RationalizeAll(num_generations=draws, temperature=1.0),
    ]
    _, trainer = make_step([problem], samplers, gradient_view_samples=draws)
    view = last_view(trainer)
    assert view["objective/rationale"] == pytest.approx(solved, abs=0.05)
    assert view["objective/rationalization"] == pytest.approx(solved, abs=0.05)
    assert view["importance_weight/rationalization"] == pytest.approx(solved / solved_with_hint, rel=0.1)
    assert view["log_ratio/rationalization"] < 0
    assert view["kl"] == pytest.approx(0.0, abs=1e-4)  # it is the original model
    parts = {"rationale": expectation(plain)[0], "rationalization": expectation(proposed)[0]}
    total = sum(parts.values())
    for name, part in parts.items():
        assert view[f"share/{name}"] == pytest.approx(float(part @ total / (total @ total)), abs=0.05)
    assert view["share/rationale"] + view["share/rationalization"] == pytest.approx(1.0)
    assert view["share_of_samples/rationale"] == pytest.approx(solved / (solved + solved_with_hint), abs=0.05)
    # With importance weights both estimate the same gradient; a few of the samples show it.
    settings = {"sample_weighting": "importance", "importance_sampling_cap": None, "gradient_view_samples": 200}
    view = last_view(make_step([problem], samplers, **settings)[1])
    assert view["share/rationale"] == pytest.approx(0.5, abs=0.05)
    assert view["share_of_samples/rationale"] < 0.4


def test_greedy_samples_have_no_importance_weight(make_step):
    _, trainer = make_step(PROBLEMS, [RationaleSampler(), RationalizeAll()], gradient_view_samples=4)
    assert {"log_ratio/rationalization", "objective/rationale", "kl"} <= set(last_view(trainer))
    assert not {"importance_weight/rationalization", "objective/rationalization"} & set(last_view(trainer))


def test_the_gradient_of_an_adapter_is_that_of_its_weights(make_step, monkeypatch):
    """The weights below it are frozen."""
    sizes, gradient = [], GradientView._gradient

    def spy(self, group):
        vector = gradient(self, group)
        sizes.append(vector.numel())
        return vector

    monkeypatch.setattr(GradientView, "_gradient", spy)
    adapter = LoraConfig(r=1, target_modules=["q_proj"], task_type="CAUSAL_LM")
    _, trainer = make_step(PROBLEMS, [RationaleSampler()], gradient_view_samples=4, peft_config=adapter)
    assert sizes == [sum(each.numel() for each in trainer.model.parameters() if each.requires_grad)]


@pytest.mark.parametrize("reset_model", [True, False])
def test_kl_is_that_of_the_model_that_sampled_from_the_original(make_trainer, model, tokenizer, reset_model):
    """In the second iteration, against the sum over all completions; the weights are what they were before."""
    original = build()
    original.load_state_dict(model.state_dict())
    trainer = make_trainer(
        train_dataset=Dataset.from_list(PROBLEMS[:1]),
        few_shot_examples=None,
        samplers=[RationaleSampler(num_generations=1000, temperature=1.0)],
        reward_funcs=ends_right,
        max_completion_length=LENGTH,
        stop_strings=None,
        gradient_view_samples=1000,
        reset_model=reset_model,
        num_iterations=1,
    )
    trainer.keep_original_weights()
    trainer.fine_tune(trainer.select(1) if trainer.sample(1) else [], 1)
    prompt = tokenizer(PROBLEMS[0]["prompt"])["input_ids"]
    trained = trainer.model.eval()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    with torch.no_grad():
        pairs = [
            (logprob(trained, prompt, tokens), logprob(original.eval(), prompt, tokens)) for tokens in COMPLETIONS
        ]
    exact = float(sum(p.exp() * (p - q) for p, q in pairs))
    spread = float(sum(p.exp() * (p - q) ** 2 for p, q in pairs)) ** 0.5
    trainer.sample(2)
    samples, weights = trainer.ledger.read(2), trainer.keep_original_weights()
    kl = GradientView(trainer.task, trainer.args, trainer.policy, weights, samples, 2).kl("rationale")["kl"]
    assert exact > 0.05 and abs(kl - exact) < 4 * spread / 1000**0.5
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_log_probabilities_leave_out_what_was_not_drawn(make_trainer, model, tokenizer):
    """The EOS that stands in for a stop string is in neither log-probability."""
    trainer = make_trainer(
        train_dataset=Dataset.from_list(PROBLEMS),
        few_shot_examples=None,
        samplers=[RationaleSampler(num_generations=50, temperature=1.0)],
        reward_funcs=ends_right,
        sample_weighting="importance",
        max_completion_length=8,
        stop_strings=["b"],
    )
    samples = trainer.sample(1)
    assert {"eos", "stop"} <= {sample.finish_reason for sample in samples}
    prompts = [tokenizer(PROBLEMS[sample.problem_id]["prompt"])["input_ids"] for sample in samples]
    logprobs = sequence_logprobs(model.eval(), prompts, samples, PAD)
    assert logprobs == pytest.approx([sample.logprob for sample in samples], abs=1e-4)
    stopped = next(index for index, sample in enumerate(samples) if sample.finish_reason == "stop")
    tokens = samples[stopped].completion_ids[:-1]
    expected = logprob(model, prompts[stopped], tokens) if tokens else 0.0
    assert logprobs[stopped] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_weighting": "importance"}, r"only at temperature 1 without truncation. The sampler `rationale`"),
        ({"sample_weighting": "importance", "temperature": 1.0, "top_k": 5}, "top_k=5"),
        ({"sample_weighting": "advantage"}, "`rationale` draws one"),
        ({"sample_weighting": "importance", "sample_iterations": 2}, "Set `sample_iterations=1`"),
        ({"sample_weighting": "rewards"}, "must be one of uniform, reward, importance, advantage, teacher"),
        ({"loss_normalization": "problems", "loss_type": "dft"}, "weigh the negative log-likelihood"),
        ({"importance_sampling_cap": 0.0}, "must be positive"),
        ({"sample_weighting": "importance", "max_samples_per_problem": 1}, "leaves draws of a problem out"),
        ({"sample_weighting": "advantage", "max_samples_per_problem": 1}, "leaves draws of a problem out"),
        ({"loss_normalization": "problems", "max_samples_per_problem": 1}, "leaves draws of a problem out"),
    ],
)
def test_what_does_not_fit_together(make_trainer, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(train_dataset=Dataset.from_list(PROBLEMS), few_shot_examples=None, **changes)


def twice_right(completions, answer, **kwargs):
    return [2 * reward for reward in ends_right(completions, answer)]


def test_reward_weights_the_samples(make_step):
    """A reward of two is a gradient twice as large."""
    sampler = RationaleSampler(num_generations=20, temperature=1.0)
    step, _ = make_step(PROBLEMS, [sampler])
    doubled, _ = make_step(PROBLEMS, [sampler], sample_weighting="reward", reward_funcs=twice_right)
    assert step.abs().max() > 0.01
    assert torch.allclose(doubled, 2 * step, atol=1e-6)


def draw(index, reward, drop_reason=None):
    return make_sample(
        sample_index=index,
        completion_ids=[2, EOS],
        loss_mask=[True, True],
        finish_reason="length" if drop_reason == "truncated" else "eos",
        reward=reward,
        kept=drop_reason is None,
        drop_reason=drop_reason,
    )


def test_the_baseline_is_the_mean_of_the_other_samples():
    samples = [draw(0, 1.0), draw(1, 0.0, "wrong"), draw(2, 0.5, "wrong")]
    args = SimpleNamespace(sample_weighting="advantage", loss_normalization="tokens", unfinished=("length", "pause"))
    weights, _ = sample_weights(samples, samples, args, policy_logprobs=None)
    assert weights == pytest.approx([0.75, -0.75, 0.0])
    args.loss_normalization = "problems"
    assert sample_weights(samples, samples, args, policy_logprobs=None)[0] == pytest.approx([0.25, -0.25, 0.0])


@pytest.mark.parametrize(("normalization", "count"), [("tokens", 1), ("problems", 3)])
def test_what_could_not_be_judged_is_no_failure(normalization, count):
    """It is left out of the baseline and of the number of draws; what was cut is a failure, whatever its reward."""
    judged = [draw(0, 1.0), draw(1, 0.0, "wrong"), draw(2, 1.0, "truncated")]
    others = [draw(3, None, "error"), draw(4, 0.5, "unverified")]
    args = SimpleNamespace(
        sample_weighting="advantage", loss_normalization=normalization, unfinished=("length", "pause")
    )
    weights, _ = sample_weights(judged, [*judged, *others], args, policy_logprobs=None)
    assert [count * weight for weight in weights] == pytest.approx([1.0, -0.5, -0.5])
