# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
r"""
Formal proofs of small propositional theorems, with a thought before every tactic as in Lean-STaR (Lin et al., 2024,
arXiv 2407.10040), checked by Rocq (`apt-get install coq`). A problem with its hint, the tactics without thoughts, and
a proof:

    Theorem t : A /\ B -> C -> C \/ D . (* intros h1 c . destruct h1 as [ a b ] . left . exact c . *)
    Proof .

    (* A /\ B by h1 , C by c *) intros h1 c .
    (* A by a , B by b *) destruct h1 as [ a b ] .
    (* goal C \/ D by C *) left .
    (* goal C by c *) exact c .
    Qed .

A proof of `A` is named `a`, a rule that leads to `A` is named `fa`, and pairs are `h1`, `h2`, ...

The base model is made on the spot. It is trained on right proofs of the theorems of level 1, and on made-up ones of
the other levels. In a made-up proof, what is assumed, taken apart and left to prove is true. Which hypothesis is used,
and which side of a disjunction is proved, is random, and never all of it right. Most of them have their tactics as a
hint. The model knows the form of a proof and how to use a hint, and proves little without one.

```bash
python examples/from_scratch/synthetic_proofs.py --output_dir runs/proofs \
    --results docs/results/synthetic_proofs.json
python examples/from_scratch/synthetic_proofs.py --output_dir runs/proofs-without --rationalization false
```
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset
from transformers import HfArgumentParser

import base_model
from base_model import Piece, build_word_tokenizer, document_pieces
from runs import SETTINGS, SamplerArguments, merge_results, starting_with
from star_trl import STaRConfig, STaRTrainer, has_run, load_history
from star_trl.rewards import ProofCheckReward


# A formula is an atom or a connective with two formulas.
Formula = str | tuple[str, "Formula", "Formula"]
AND, OR, IMPLIES = "/\\", "\\/", "->"
ATOMS = "ABCDE"
NAMES = [*ATOMS.lower(), *(f"f{atom}" for atom in ATOMS.lower()), "h1", "h2", "h3"]
WORDS = [*ATOMS, *NAMES, AND, OR, IMPLIES, *"()[]:,.", "(*", "*)", "\n"]
WORDS += "Theorem t Proof Qed goal by intros destruct as split left right exact apply".split()
LEVELS = (1, 2, 3)
# (steps, rows, tokens in a row, weights of documents with theorems of each level)
PHASES = ((100, 16, 64, (1, 0, 0)), (300, 16, 128, (1, 2, 2)))
HINT_SHARE, HINT_SHARE_LEVEL_1 = 0.9, 0.1


@dataclass
class ProofArguments(SamplerArguments):
    """
    Arguments of this example, besides those of [`SamplerArguments`].

    Args:
        base_model (`str`, *optional*, defaults to `"runs/proofs-base"`):
            Where the base model is, or is saved once it is made.
        problems_per_level (`int`, *optional*, defaults to `300`):
            Training theorems of each level. There are 220 of level 1.
        eval_problems_per_level (`int`, *optional*, defaults to `60`):
            Held-out theorems of each level.
        results (`str`, *optional*):
            File that the accuracy of every iteration is merged into.
    """

    base_model: str = field(default="runs/proofs-base", metadata={"help": "Where the base model is, or is put."})
    problems_per_level: int = field(default=300, metadata={"help": "Training theorems of each level."})
    eval_problems_per_level: int = field(default=60, metadata={"help": "Held-out theorems of each level."})
    results: str | None = field(default=None, metadata={"help": "File that the accuracy is merged into."})


DEFAULTS = {
    **SETTINGS,
    "num_iterations": 3,
    "initial_steps": 120,
    "step_growth": 1.5,
    "seed": 0,
    "max_completion_length": 200,
    "eval_group_column": "level",
}
# Metrics of an iteration that the results hold
WANTED = ("iteration", "eval_accuracy", "rationale/", "rationalization/", "train_data_used", "seconds", "proof/")


def write(formula: Formula, nested: bool = False) -> str:
    """A formula as text."""
    if isinstance(formula, str):
        return formula
    text = " ".join([write(formula[1], nested=True), formula[0], write(formula[2], nested=True)])
    return f"( {text} )" if nested else text


def draw_theorem(rng: random.Random, level: int) -> tuple[list[Formula], Formula]:
    """
    Draws hypotheses and a goal. Level 1: some atoms, and one of them. Level 2: atoms and conjunctions, and two of the
    atoms with a connective, or one and any other with a disjunction. Level 3: one hypothesis more, an implication
    whose conclusion is in the goal, and perhaps a connective more in the goal.
    """
    fresh = rng.sample(ATOMS, len(ATOMS))
    known: list[str] = []

    def take() -> str:
        known.append(fresh.pop())
        return known[-1]

    count = rng.choice((2, 3)) if level < 3 else 2
    hypotheses: list[Formula] = []
    for _ in range(count):
        pair = level > 1 and len(fresh) > count and rng.random() < 0.5
        hypotheses.append((AND, take(), take()) if pair else take())

    def draw_goal(part: Formula) -> Formula:
        """Draws a goal that contains a part that can be proved."""
        connective = rng.choice((AND, OR))
        other = rng.choice(known if connective == AND else ATOMS)
        return (connective, part, other) if rng.random() < 0.5 else (connective, other, part)

    goal: Formula = rng.choice(known)
    if level == 2:
        goal = draw_goal(goal)
    elif level == 3:
        premise, conclusion = goal, fresh.pop()
        hypotheses.append((IMPLIES, premise, conclusion))
        goal = draw_goal(conclusion)
        if rng.random() < 0.5:
            goal = draw_goal(goal)
    rng.shuffle(hypotheses)
    return hypotheses, goal


class ProofWriter:
    """
    Writes a proof with its thoughts, from the goal back to the hypotheses.

    Args:
        hypotheses (`list[Formula]`), goal (`Formula`):
            The theorem.
        rng (`random.Random`, *optional*):
            Source of a made-up proof. A right proof by default.
    """

    def __init__(self, hypotheses: list[Formula], goal: Formula, rng: random.Random | None = None):
        self.rng = rng
        self.right = True
        self.steps: list[tuple[str, str]] = []  # thought and tactic
        self.known: dict[str, Formula] = {}
        self._assume(hypotheses)
        self._step(
            ", ".join(f"{write(f)} by {name} " for name, f in self.known.items()), f"intros {' '.join(self.known)}"
        )
        for name, formula in list(self.known.items()):
            if formula[0] == AND:
                parts = self._assume(formula[1:])
                thought = ", ".join(f"{write(f)} by {part} " for part, f in parts.items())
                self._step(thought, f"destruct {name} as [ {' '.join(parts)} ]")
        self._prove(goal)

    def _assume(self, formulas: Sequence[Formula]) -> dict[str, Formula]:
        """Names some formulas, and adds them to the known ones."""
        parts: dict[str, Formula] = {}
        for formula in formulas:
            if formula[0] == AND:
                name = f"h{len([known for known in [*self.known, *parts] if known[0] == 'h']) + 1}"
            else:
                name = f"f{formula[2].lower()}" if formula[0] == IMPLIES else formula.lower()
            parts[name] = formula
        self.known.update(parts)
        return parts

    def _step(self, thought: str, tactic: str) -> None:
        self.steps.append((thought.strip(), tactic))

    def _can_prove(self, goal: Formula) -> bool:
        if isinstance(goal, str):
            return any(f == goal or (f[0] == IMPLIES and f[2] == goal) for f in self.known.values())
        parts = map(self._can_prove, goal[1:])
        return all(parts) if goal[0] == AND else any(parts)

    def _prove(self, goal: Formula, depth: int = 0) -> None:
        if isinstance(goal, str):
            names = [n for n, f in self.known.items() if f == goal]
            names = names or [n for n, f in self.known.items() if f[0] == IMPLIES and f[2] == goal]
            if self.rng is not None:
                names = [n for n, f in self.known.items() if f[0] != AND and (f[0] != IMPLIES or depth == 0)]
                names = [self.rng.choice(names)]
            formula = self.known[names[0]]
            applies = formula[0] == IMPLIES
            self.right &= (formula[2] if applies else formula) == goal
            self._step(f"goal {goal} by {names[0]}", f"{'apply' if applies else 'exact'} {names[0]}")
            if applies:
                self._prove(formula[1], depth + 1)
        elif goal[0] == AND:
            self._step(f"goal {write(goal)}", "split")
            self._prove(goal[1], depth)
            self._prove(goal[2], depth)
        else:
            side = 1 if self._can_prove(goal[1]) else 2
            if self.rng is not None:
                side = self.rng.choice((1, 2))
            self._step(f"goal {write(goal)} by {write(goal[side])}", ("left", "right")[side - 1])
            self._prove(goal[side], depth)


def make_problem(hypotheses: list[Formula], goal: Formula, level: int, rng: random.Random | None = None) -> dict:
    """Makes one row, with a proof as `completion`: the right one, or with `rng` a made-up and wrong one."""
    proof = ProofWriter(hypotheses, goal, rng)
    while rng is not None and proof.right:
        proof = ProofWriter(hypotheses, goal, rng)
    parts = [f"( {write(f)} )" if f[0] == IMPLIES else write(f) for f in hypotheses]
    statement = f" {IMPLIES} ".join([*parts, write(goal)])
    tactics = " ".join(f"{tactic} ." for _, tactic in proof.steps)
    return {
        "prompt": f"Theorem t : {statement} .\nProof .\n",
        "hinted_prompt": f"Theorem t : {statement} . (* {tactics} *)\nProof .\n",
        "theorem": f"Theorem t ({' '.join(ATOMS)} : Prop) : {statement} .",
        "completion": "\n".join([*(f"(* {thought} *) {tactic} ." for thought, tactic in proof.steps), "Qed ."]),
        "level": level,
        "shape": shape(statement),
    }


def shape(statement: str) -> str:
    """Returns a statement with its atoms replaced by numbers, in the order in which they occur."""
    names: dict[str, str] = {}
    return " ".join(names.setdefault(w, str(len(names))) if w in ATOMS else w for w in statement.split())


def make_problems(rng: random.Random, level: int, count: int, without: set[str]) -> list[dict]:
    """
    Makes different theorems whose shapes are not in `without`. There may be fewer than `count`, if no more exist.
    """
    problems: dict[str, dict] = {}
    for _ in range(20 * count):
        problem = make_problem(*draw_theorem(rng, level), level)
        if problem["shape"] not in without and len(problems) < count:
            problems[problem["prompt"]] = problem
    return list(problems.values())


def make_datasets(args: ProofArguments, seed: int) -> tuple[Dataset, Dataset]:
    """
    Makes training theorems and held-out theorems. No held-out theorem is a training theorem with other atoms, except
    those of level 1, which has five shapes.
    """
    rng = random.Random(seed)
    train, held_out = [], []
    for level in LEVELS:
        held_out += make_problems(rng, level, args.eval_problems_per_level, without=set())
        known = {problem["shape"] for problem in held_out} if level > 1 else set()
        train += make_problems(rng, level, args.problems_per_level, without=known)
    # The trainer does not need reference proofs. Without them, they cannot end up in a training sequence.
    train_dataset, eval_dataset = (
        Dataset.from_list(rows).remove_columns(["completion", "shape"]) for rows in (train, held_out)
    )
    return train_dataset, eval_dataset


def make_document(rng: random.Random, weights: tuple[int, ...]) -> list[tuple[str, str]]:
    """Makes one to four problems of the same level with their proofs. The top of this file says what is in them."""
    (level,) = rng.choices(LEVELS, weights)
    document = []
    for _ in range(rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0]):
        problem = make_problem(*draw_theorem(rng, level), level, rng if level > 1 else None)
        hinted = rng.random() < (HINT_SHARE if level > 1 else HINT_SHARE_LEVEL_1)
        document.append((problem["hinted_prompt" if hinted else "prompt"], problem["completion"]))
    return document


def write_row(rng: random.Random, weights: tuple[int, ...]) -> Iterator[Piece]:
    """Yields endless documents, each followed by EOS."""
    while True:
        yield from document_pieces(make_document(rng, weights))


def make_base_model(path: Path, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    return base_model.make_base_model(path, build_word_tokenizer(WORDS), write_row, phases, random.Random(0))


def main() -> None:
    parser = HfArgumentParser([ProofArguments, STaRConfig])
    parser.set_defaults(**DEFAULTS)
    args, star_args = parser.parse_args_into_dataclasses()

    reward = ProofCheckReward(batch_size=32)
    model = make_base_model(Path(args.base_model))
    train_dataset, eval_dataset = make_datasets(args, star_args.seed)
    trainer = STaRTrainer(
        model=str(model),
        args=star_args,
        reward_funcs=reward,
        samplers=args.make_samplers(),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
    )
    # An interrupted run is resumed
    trainer.train(resume_from_checkpoint=has_run(star_args.output_dir))
    if args.results is not None:
        name = "star" if args.rationalization else "without_rationalization"
        rows = [starting_with(WANTED, metrics) for metrics in load_history(star_args.output_dir)]
        merge_results(Path(args.results), name, {f"seed {star_args.seed}": rows})

    print("Proofs of the final model, for held-out theorems:\n")
    shown = [list(eval_dataset["level"]).index(level) for level in LEVELS]
    for sample in trainer.sample_problems(eval_dataset.select(shown)):
        print(f"{sample.prompt}{sample.completion}\n[{'right' if sample.kept else sample.extra['proof_error']}]\n")


if __name__ == "__main__":
    main()
