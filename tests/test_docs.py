# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The Python blocks of the README and of the docs run."""

import re
import shutil

import pytest
from peft import LoraConfig
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)

from star_trl import STaRTrainer
from support import ROOT
from support.sums import solve_easy_and_hinted


FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = {
    str(path.relative_to(ROOT)): blocks
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if (blocks := FENCE.findall(path.read_text()))
}


@pytest.mark.parametrize("page", BLOCKS)
def test_code_blocks(page, model, tokenizer, make_trainer, problems, tmp_path, monkeypatch):
    if page == "docs/proofs.md" and shutil.which("coqc") is None:
        pytest.skip("Rocq is not installed: apt-get install coq")
    # What the blocks refer to: models of some id, loaded as from the hub, the output of a run in `out`, and of one
    # with an adapter.
    config = LlamaConfig(**{**model.config.to_dict(), "max_position_embeddings": 1024})
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "my-reward-model")
    config.num_labels = 2
    LlamaForTokenClassification(config).save_pretrained(tmp_path / "my-prm")
    for name in ("model", "my-reward-model", "my-prm"):
        tokenizer.save_pretrained(tmp_path / name)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems)
    trainer.train()
    adapter = LoraConfig(task_type="CAUSAL_LM")
    lora_dir = str(tmp_path / "out-lora")
    make_trainer(
        solve_easy_and_hinted,
        model=str(tmp_path / "model"),
        peft_config=adapter,
        num_iterations=1,
        output_dir=lora_dir,
    ).train()
    monkeypatch.chdir(tmp_path)
    # The made-up problems of the README are too few for a model with random weights to solve one.
    trained = []
    monkeypatch.setattr(STaRTrainer, "train", lambda self, **kwargs: trained.append(self))

    names: dict = {"trainer": trainer, "held_out": problems}  # a block may build on those before it
    for block in BLOCKS[page]:
        block = block.replace("Qwen/Qwen3-0.6B-Base", "model").replace("HuggingFaceTB/SmolLM2-135M", "model")
        block = block.replace("my-org/", "")
        block = block.replace('output_dir="out"', 'output_dir="new", use_cpu=True')
        block = block.replace('output_dir="verifier"', 'output_dir="verifier", use_cpu=True, bf16=False')
        block = block.replace('output_dir="quiet"', 'output_dir="quiet", use_cpu=True, bf16=False')
        exec(compile(block, page, "exec"), names)
    assert bool(trained) == (page in ("README.md", "docs/index.md", "docs/preference.md", "docs/resuming.md"))
