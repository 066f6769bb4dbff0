# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The Python blocks of the README and of the docs run."""

import re
import shutil
from pathlib import Path

import pytest
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)

from conftest import solve_easy_and_hinted
from star_trl import STaRTrainer


ROOT = Path(__file__).parent.parent
DOCS = "trainer samplers write_a_sampler rewards add_a_dataset base_or_chat hints recipes report export"
needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="Rocq is not installed: apt-get install coq")
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in DOCS.split()),
    pytest.param("docs/proofs.md", marks=needs_coq),
]


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks(page, model, tokenizer, make_trainer, problems, tmp_path, monkeypatch):
    # What the blocks refer to: models of some id, loaded as from the hub, and the output of a run in `out`.
    config = LlamaConfig(**{**model.config.to_dict(), "max_position_embeddings": 1024})
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "my-reward-model")
    config.num_labels = 2
    LlamaForTokenClassification(config).save_pretrained(tmp_path / "my-prm")
    for name in ("model", "my-reward-model", "my-prm"):
        tokenizer.save_pretrained(tmp_path / name)
    make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems).train()
    monkeypatch.chdir(tmp_path)
    # The made-up problems of the README are too few for a model with random weights to solve one.
    trained = []
    monkeypatch.setattr(STaRTrainer, "train", lambda self, **kwargs: trained.append(self))

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    names: dict = {}  # a block may build on those before it
    for block in blocks:
        block = block.replace("Qwen/Qwen3-0.6B-Base", "model").replace("my-org/", "")
        block = block.replace('output_dir="out"', 'output_dir="new", use_cpu=True')
        exec(compile(block, page, "exec"), names)
    assert bool(trained) == (page == "README.md")
