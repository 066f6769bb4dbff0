# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
V-STaR (Hosseini et al., 2024, arXiv 2402.06457) on the sums of `arithmetic.py`. Right and wrong samples of a model
that STaR has trained become pairs. TRL's `DPOTrainer` trains a verifier on them, as in the paper, and the verifier
picks the best of k samples.

```bash
python examples/from_scratch/v_star.py --output_dir runs/v_star
```
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import HfArgumentParser, PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets
from scratchpads import make_base_model
from star_trl import RationaleSampler, Sample, STaRConfig, STaRTrainer, preference_dataset
from star_trl.fine_tuning.logprobs import sequence_logprobs
from star_trl.ledger import Ledger
from star_trl.rewards import scratchpad_answer_reward


@dataclass
class VStarArguments(ArithmeticArguments):
    """
    Arguments of this example, and those of `arithmetic.py`.

    Args:
        k (`int`, *optional*, defaults to `8`):
            Completions of a held-out problem to choose from.
        draws (`int`, *optional*, defaults to `4`):
            Completions of a problem that the verifier learns from.
        draw_temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of both kinds of completions.
        verifier_steps (`int`, *optional*, defaults to `100`):
            Training steps of the verifier.
        verifier_learning_rate (`float`, *optional*, defaults to `3e-4`):
            Its learning rate.
    """

    k: int = field(default=8, metadata={"help": "Completions of a held-out problem to choose from."})
    draws: int = field(default=4, metadata={"help": "Completions of a problem that the verifier learns from."})
    draw_temperature: float = field(default=1.0, metadata={"help": "Temperature of both."})
    verifier_steps: int = field(default=100, metadata={"help": "Training steps of the verifier."})
    verifier_learning_rate: float = field(default=3e-4, metadata={"help": "Learning rate of the verifier."})


def train_verifier(model: str, pairs: Dataset, args: VStarArguments, star_args: STaRConfig) -> DPOTrainer:
    """Trains the last reasoner to find the right completion of each pair more likely."""
    verifier = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=f"{star_args.output_dir}/verifier",
            max_steps=args.verifier_steps,
            per_device_train_batch_size=32,
            learning_rate=args.verifier_learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            max_length=None,
            bf16=star_args.bf16,
            gradient_checkpointing=False,
            use_cpu=star_args.use_cpu,
            report_to="none",
            logging_steps=20,
            save_strategy="no",
            seed=star_args.seed,
        ),
        train_dataset=pairs,
    )
    verifier.train()
    return verifier


def likelihoods(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: list[Sample]) -> list[float]:
    """Log-probability of each sample given its prompt, by which the paper's verifier ranks."""
    prompts = [tokenizer(sample.prompt)["input_ids"] for sample in samples]
    return sequence_logprobs(model.eval(), prompts, samples, tokenizer.pad_token_id)


def report(greedy: list[Sample], drawn: list[list[Sample]], scores: dict[str, list[float]], digits: list[int]) -> None:
    """Prints the accuracy of each method, by the number of digits."""
    k = len(drawn[0])

    def majority(samples: list[Sample]) -> bool:
        answers = [sample.completion.rpartition("</scratch>")[2].strip() for sample in samples]
        return samples[answers.index(Counter(answers).most_common(1)[0][0])].kept

    rows = {
        "one sample, on average": [sum(sample.kept for sample in samples) / k for samples in drawn],
        "greedy": [sample.kept for sample in greedy],
        f"majority of {k}": [majority(samples) for samples in drawn],
    }
    for name, values in scores.items():
        best = [max(range(k), key=values[start : start + k].__getitem__) for start in range(0, len(values), k)]
        rows[f"best of {k} by the {name}"] = [samples[i].kept for samples, i in zip(drawn, best, strict=True)]
    rows[f"any of {k} (oracle)"] = [any(sample.kept for sample in samples) for samples in drawn]

    numbers = sorted(set(digits))
    table = Table("", *map(str, numbers), "all", title="Accuracy on held-out sums, by digits", box=box.SIMPLE_HEAD)
    for name, right in rows.items():
        groups = [[value for value, of in zip(right, digits, strict=True) if of == number] for number in numbers]
        table.add_row(name, *(f"{sum(group) / len(group):.1%}" for group in [*groups, right]))
    Console().print(table)


def main() -> None:
    parser = HfArgumentParser([VStarArguments, STaRConfig])
    parser.set_defaults(**DEFAULTS, output_dir="runs/v_star")
    parser.set_defaults(num_iterations=1, initial_steps=700, problems_per_digit=3600, eval_problems_per_digit=300)
    args, star_args = parser.parse_args_into_dataclasses()

    # Few-shot examples are left out, so that reasoner and verifier see the same prompts.
    problems, eval_dataset, _ = make_datasets(args, star_args.seed)
    # STaR trains on a third of the problems, and the verifier on samples of the others, since the reasoner knows its
    # own training problems too well. Both have the problems of one digit, of which there are only 81.
    reasoner_problems, verifier_problems = (
        problems.filter(lambda row, index, own: row["digits"] == 1 or index % 3 in own, True, fn_kwargs={"own": own})
        for own in ((0,), (1, 2))
    )
    trainer = STaRTrainer(
        model=str(make_base_model(Path(args.base_model))),
        args=star_args,
        reward_funcs=scratchpad_answer_reward,
        samplers=args.make_samplers(),
        train_dataset=reasoner_problems,
    )
    trainer.train()

    ledger = Ledger(trainer.ledger.iteration_dir(trainer.iteration) / "draws")
    sampler = RationaleSampler(num_generations=args.draws, temperature=args.draw_temperature)
    trainer.sample_problems(verifier_problems, ledger, sampler)
    pairs = preference_dataset(ledger.output_dir)
    print(f"{len(pairs)} pairs of a right and a wrong sample")
    checkpoint = trainer.outer_run.checkpoint_dir(trainer.iteration)
    verifier = train_verifier(str(checkpoint), pairs, args, star_args)

    sampler = RationaleSampler(num_generations=args.k, temperature=args.draw_temperature)
    samples = trainer.sample_problems(eval_dataset, sampler=sampler)
    tokenizer = trainer.processing_class
    scores = {
        "reasoner's likelihood": likelihoods(trainer.model, tokenizer, samples),
        "verifier": likelihoods(verifier.model, tokenizer, samples),
    }
    drawn = [samples[start : start + args.k] for start in range(0, len(samples), args.k)]
    report(trainer.sample_problems(eval_dataset), drawn, scores, list(eval_dataset["digits"]))


if __name__ == "__main__":
    main()
