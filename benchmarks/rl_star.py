# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR without rationalization with what RL-STaR (Chang et al., 2024, https://huggingface.co/papers/2410.23912)
predicts of it, on the paper's kind of task. A problem is one of M states. N steps lead from it, each to one of M
states, of which one is right, and the last state is the answer. A model takes the right step with the probability
(1 + (M - 1) delta) / M, and any other with (1 - delta) / M. At delta = 0 it is at chance.

    python benchmarks/rl_star.py                                    # all, half a CPU minute each for tables
    python benchmarks/rl_star.py --settings "delta 0.2"

The model is a table, as in the theory: a step depends on the state before it only. One setting has a transformer,
whose steps depend on the whole chain. Merges what the theory predicts and what was measured into
`docs/results/rl_star.json`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from star_trl import RationaleSampler, STaRConfig, STaRTrainer
from star_trl.ledger import Sample


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
from base_model import build_word_tokenizer  # noqa: E402


RESULTS = runs.RESULTS / "rl_star.json"
IMPOSSIBLE = -30.0  # log-probability of what is no state of the next step
CONFIG: dict[str, Any] = {
    **runs.ON_A_CPU,
    "temperature": 1.0,
    # Every draw counts, as in the theory: a trace that is drawn twice is trained on twice.
    "loss_normalization": "problems",
    "initial_steps": 20,
    "step_growth": 1.0,
    "per_device_train_batch_size": 512,
    "learning_rate": 0.1,
    "lr_scheduler_type": "linear",
    "generation_batch_size": 1024,
    "shared_prefix_train": False,  # the rows are short
    "logging_steps": 1000,
    "save_strategy": "no",
    "html_report": False,
    "disable_tqdm": True,
}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """
    The task.

    Args:
        num_states (`int`, *optional*, defaults to `8`):
            Number of states of each step, M. From every state, the right one of the next step has the same number.
        num_steps (`int`, *optional*, defaults to `3`):
            Number of steps, N (the paper's).
    """

    num_states: int = 8
    num_steps: int = 3

    def word(self, step: int, state: int) -> str:
        return f"s{step}-{state}"

    @property
    def words(self) -> list[str]:
        return [self.word(step, state) for step in range(self.num_steps + 1) for state in range(self.num_states)]

    @property
    def problems(self) -> Dataset:
        states = range(self.num_states)
        return Dataset.from_list(
            [{"prompt": self.word(0, state), "answer": self.word(self.num_steps, state)} for state in states]
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    One run.

    Args:
        deltas (`Sequence[float]`):
            Delta of each step of the first model.
        num_iterations (`int`):
            Number of outer iterations.
        transformer (`bool`, *optional*, defaults to `False`):
            Whether the model is a transformer that was trained on traces of the table, in place of the table.
        config (`dict[str, Any]`, *optional*):
            What is different in `CONFIG`.
    """

    deltas: Sequence[float]
    num_iterations: int
    transformer: bool = False
    config: dict[str, Any] = field(default_factory=dict)


SETTINGS = {
    "delta 0.2": Setting(deltas=[0.2] * 3, num_iterations=6),
    "delta 0.1": Setting(deltas=[0.1] * 3, num_iterations=9),
    "delta 0.3, one step at chance": Setting(deltas=[0.3, 0.0, 0.3], num_iterations=6),
    "chance": Setting(deltas=[0.0] * 3, num_iterations=9),
    "delta 0.2, transformer": Setting(
        deltas=[0.2] * 3,
        num_iterations=5,
        transformer=True,
        config={"learning_rate": 3e-3, "per_device_train_batch_size": 256, "initial_steps": 40},
    ),
    "delta 0.2, without duplicates": Setting(
        deltas=[0.2] * 3, num_iterations=7, config={"loss_normalization": "tokens"}
    ),
}


def accuracy(deltas: Sequence[float], num_states: int) -> float:
    """
    Returns the probability of the right answer. A step is the right one with probability delta, and otherwise any of
    the M with equal probability. The answer is right if all are the right ones, or else with probability 1/M.
    """
    return (1 + (num_states - 1) * _product(deltas)) / num_states


def next_deltas(deltas: Sequence[float], num_states: int) -> list[float]:
    """
    Returns delta of each step of a model that is fitted to the traces with the right answer. The share of these traces
    that take the right step n is its probability, times that of the right answer by the other steps after it, divided
    by that of the right answer. For N = 3 and equal deltas this is `delta_t_1` of the authors' `RLstar_theory.py`.
    """
    others = [[*deltas[:step], *deltas[step + 1 :]] for step in range(len(deltas))]
    right = [
        accuracy([delta], num_states) * accuracy(other, num_states) / accuracy(deltas, num_states)
        for delta, other in zip(deltas, others, strict=True)
    ]
    return [(num_states * share - 1) / (num_states - 1) for share in right]


def _product(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).prod())


def make_tokenizer(chain: Chain) -> PreTrainedTokenizerFast:
    return build_word_tokenizer(chain.words)


def log_table(chain: Chain, tokenizer: PreTrainedTokenizerFast, deltas: Sequence[float]) -> torch.Tensor:
    """Returns the log-probability of each token behind each token, of shape `(tokens, tokens)`."""
    size = chain.num_states
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(chain.words)).view(-1, size)
    table = torch.full((len(tokenizer), len(tokenizer)), IMPOSSIBLE)
    for step, delta in enumerate(deltas):
        probabilities = torch.full((size, size), (1 - delta) / size) + delta * torch.eye(size)
        table[ids[step][:, None], ids[step + 1]] = probabilities.log()
    table[ids[-1], tokenizer.eos_token_id] = 0.0
    return table


def _llama(tokenizer: PreTrainedTokenizerFast, **sizes: int | float) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    return LlamaForCausalLM(config)


def make_table_model(chain: Chain, tokenizer: PreTrainedTokenizerFast, deltas: Sequence[float]) -> LlamaForCausalLM:
    """
    Returns a model that is a table: a Llama whose only layer adds nothing to the embeddings, which are one-hot. Only
    the last matrix, the table, is trained.
    """
    size = len(tokenizer)
    model = _llama(
        tokenizer,
        hidden_size=size,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        rms_norm_eps=1e-12,
    )
    model.requires_grad_(False)
    model.model.embed_tokens.weight.copy_(torch.eye(size))
    model.model.layers[0].self_attn.o_proj.weight.zero_()
    model.model.layers[0].mlp.down_proj.weight.zero_()
    model.lm_head.weight.copy_(log_table(chain, tokenizer, deltas).T / size**0.5)  # the norm scales one-hot vectors
    model.lm_head.weight.requires_grad_(True)
    return model


def make_transformer(
    chain: Chain, tokenizer: PreTrainedTokenizerFast, deltas: Sequence[float], steps: int = 400, batch_size: int = 256
) -> LlamaForCausalLM:
    """Returns a transformer that was trained on traces of the table."""
    model = _llama(tokenizer, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    probabilities = log_table(chain, tokenizer, deltas).exp()
    first = torch.tensor(tokenizer.convert_tokens_to_ids(chain.words[: chain.num_states]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        tokens = [first[torch.randint(len(first), (batch_size,))]]
        for _ in range(chain.num_steps + 1):
            tokens.append(torch.multinomial(probabilities[tokens[-1]], 1)[:, 0])
        ids = torch.stack(tokens, dim=1)
        model(ids, labels=ids.where(torch.arange(ids.shape[1]) > 0, -100)).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model


def answer_reward(completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 if the last state is the answer."""
    return [float(text.split()[-1:] == [right]) for text, right in zip(completions, answer, strict=True)]


def measure(samples: Sequence[Sample], chain: Chain) -> dict[str, Any]:
    """
    Measures the model that drew some samples.

    Returns:
        `dict[str, Any]`: `accuracy`, the share of right answers; `deltas`, by the share of right steps;
        `right_chains`, the share of the right answers whose steps are all right.
    """
    right_steps = [0] * chain.num_steps
    num_whole = num_right_chains = 0
    for sample in samples:
        words = [sample.prompt, *sample.completion.split()]
        if [word.split("-")[0] for word in words] != [f"s{step}" for step in range(chain.num_steps + 1)]:
            continue  # that of a transformer may be no chain
        num_whole += 1
        states = [word.split("-")[1] for word in words]
        num_right_chains += len(set(states)) == 1
        for step in range(chain.num_steps):
            right_steps[step] += states[step] == states[step + 1]
    num_right = sum(sample.kept for sample in samples)
    return {
        "accuracy": num_right / len(samples),
        "deltas": [
            (chain.num_states * right / max(num_whole, 1) - 1) / (chain.num_states - 1) for right in right_steps
        ],
        "right_chains": num_right_chains / max(num_right, 1),
    }


def predict(deltas: Sequence[float], num_iterations: int, num_states: int) -> list[dict[str, Any]]:
    """Returns what the theory says of the first model and of that of each iteration, in the form of `measure`."""
    rows = []
    for _ in range(num_iterations + 1):
        whole = accuracy(deltas, num_states)
        chains = _product([accuracy([delta], num_states) for delta in deltas])
        rows.append({"accuracy": whole, "deltas": list(deltas), "right_chains": chains / whole})
        deltas = next_deltas(deltas, num_states)
    return rows


def run(setting: Setting, chain: Chain, num_generations: int, seed: int, **config: Any) -> list[dict[str, Any]]:
    """Runs STaR. Returns what is measured of the first model and of that of each iteration."""
    set_seed(seed)
    tokenizer = make_tokenizer(chain)
    with torch.no_grad() if not setting.transformer else torch.enable_grad():
        make = make_transformer if setting.transformer else make_table_model
        model = make(chain, tokenizer, setting.deltas)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = STaRTrainer(
            model=model,
            args=STaRConfig(
                **{
                    **CONFIG,
                    **setting.config,
                    "output_dir": output_dir,
                    "num_iterations": setting.num_iterations,
                    "num_generations": num_generations,
                    "max_completion_length": chain.num_steps + 1,
                    "seed": seed,
                    **config,
                }
            ),
            reward_funcs=answer_reward,
            samplers=[RationaleSampler()],
            train_dataset=chain.problems,
            processing_class=tokenizer,
        )
        trainer.train()
        samples = [trainer.ledger.read(iteration) for iteration in range(1, setting.num_iterations + 1)]
        samples.append(trainer.sample_problems(chain.problems, sampler=RationaleSampler()))  # of the last model
        return [measure(each, chain) for each in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="What to run.")
    parser.add_argument("--num_generations", type=int, default=512, help="Completions of each of the M problems.")
    parser.add_argument("--seed", type=int, default=0, help="Seed.")
    args = parser.parse_args()
    chain = Chain()
    for name in args.settings:
        begin = time.process_time()
        predicted = predict(SETTINGS[name].deltas, SETTINGS[name].num_iterations, chain.num_states)
        measured = run(SETTINGS[name], chain, args.num_generations, args.seed)
        rows = {"theory": predicted, f"seed {args.seed}": measured}
        runs.merge_results(RESULTS, name, rows)
        pairs = zip(measured, predicted, strict=True)
        shares = [f"{row['accuracy']:.1%} ({theory['accuracy']:.1%})" for row, theory in pairs]
        print(json.dumps({name: shares, "cpu_seconds": round(time.process_time() - begin)}), flush=True)


if __name__ == "__main__":
    main()
