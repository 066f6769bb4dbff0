# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Formal proofs with a thought before every tactic, as in Lean-STaR (Lin et al., 2024, arXiv 2407.10040), checked by Rocq
(`apt-get install coq`, or `opam install coq`). Lean-STaR begins with thoughts that a large model writes in retrospect,
from the tactics of a reference proof. Here rationalization writes them, with these tactics as the hint:

    Q: Theorem and_left : forall A B : Prop, A /\ B -> A. (intros A B H. destruct H as [a b]. exact a.)
    A: (* We are given two propositions and a proof of both. *) intros A B H.
    (* It holds two facts, so it is taken apart. *) destruct H as [a b].
    (* The first one is what is asked for. *) exact a.
    Qed.

The 48 theorems of `prompts/proofs/theorems.v` show that it works. `--data_dir` takes those of `train.v` and `eval.v`
in a folder instead, in the same form. For Lean 4, a theorem of a dataset goes into the column `theorem`, its imports
into a column `header`, and `checker` below becomes `ProofCheckReward("lean")`.

```bash
python examples/datasets/proofs.py --output_dir runs/proofs
python examples/datasets/proofs.py --output_dir runs/proofs --runs all
```
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from domain import Domain
from paper_runs import main
from star_trl.rewards import ProofCheckReward
from star_trl.rewards.text import CompletionLike, completion_text


CORPUS = Path(__file__).parent / "prompts" / "proofs" / "theorems.v"
THEOREM = re.compile(r"^(Theorem .*?\.)\nProof\. (.*?) Qed\.$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"\s*\(\*.*?\*\)", re.DOTALL)


def load(split: str, data_dir: str | None) -> list[dict]:
    """Loads theorems with their reference proofs. A fourth of those of the corpus is for the evaluation."""
    if data_dir is not None:
        found = THEOREM.findall((Path(data_dir) / f"{split}.v").read_text())
    else:
        found = [
            theorem
            for number, theorem in enumerate(THEOREM.findall(CORPUS.read_text()))
            if (number % 4 == 3) == (split == "eval")
        ]
    return [make_problem(*theorem) for theorem in found]


def make_problem(theorem: str, proof: str) -> dict:
    """Makes one row. The hint is the tactics, without thoughts."""
    theorem, proof = (" ".join(text.split()) for text in (theorem, proof))
    return {
        "prompt": f"Q: {theorem}\nA:",
        "hinted_prompt": f"Q: {theorem} ({proof})\nA:",
        "theorem": theorem,
        "direct": f" {proof} Qed.",
    }


@cache
def checker() -> ProofCheckReward:
    return ProofCheckReward()


def proof_reward(completions: list[CompletionLike], theorem: list[str], **kwargs: Any) -> list[float | None]:
    """1.0 if the checker accepts the proof."""
    return checker()(completions, theorem=theorem, **kwargs)


def proof_with_thoughts_reward(
    completions: list[CompletionLike], theorem: list[str], **kwargs: Any
) -> list[float | None]:
    """1.0 if the checker accepts the proof, and every line of it except `Qed.` begins with a thought."""
    lines = [completion_text(completion).strip().removesuffix("Qed.").splitlines() for completion in completions]
    rewards = checker()(completions, theorem=theorem)
    return [
        reward and float(all(line.startswith("(*") for line in own if line))
        for reward, own in zip(rewards, lines, strict=True)
    ]


DOMAIN = Domain(
    name="proofs",
    load=load,
    direct_pattern=lambda completion: " " + " ".join(COMMENT.sub("", completion).split()),
    instruction="Prove it in Rocq, with a thought as a comment before every tactic, one tactic on each line, and end "
    'with "Qed."',
    direct_instruction='Prove it in Rocq, with tactics and no comments, and end with "Qed."',
    reward_funcs=[proof_reward, proof_with_thoughts_reward],
    defaults={"max_completion_length": 256},
)

if __name__ == "__main__":
    checker()  # so that a missing checker is noticed before the first samples
    main(DOMAIN)
