# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over a server, with vLLM's own server started here."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig

from star_trl.generation import GenerateEngine, VLLMServerEngine
from support.generation_models import TINY, make_model, make_requests, params, run, word_level_tokenizer


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")

LENGTHS = [3, 30, 7, 9]
params = partial(params, max_new_tokens=12)
CONFIG = LlamaConfig(**{**TINY, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}, head_dim=32)


@pytest.fixture(scope="module")
def tokenizer():
    return word_level_tokenizer()


@pytest.fixture(scope="module")
def server(tokenizer, tmp_path_factory):
    """The address of a server that takes adapters."""
    folder = tmp_path_factory.mktemp("server")
    make_model(CONFIG).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command += ["--enable-lora", "--max-lora-rank", "8", "--max-model-len", "256", "--max-num-seqs", "16"]
    environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


@pytest.fixture(scope="module")
def engine(server, tokenizer):
    return VLLMServerEngine(tokenizer, Accelerator(cpu=True), batch_size=8, base_url=server, timeout=300)


def adapted(seed):
    torch.manual_seed(seed)
    model = get_peft_model(make_model(CONFIG), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("seed", [0, 1])
def test_the_adapter_of_every_call_is_loaded(engine, tokenizer, seed):
    model, requests = adapted(seed), make_requests(LENGTHS, range(10, 50))
    for parameters in (params(logprobs=True), params(stop_strings=("stop", "+", "w40")), params(max_new_tokens=40)):
        outputs = run(engine, model, requests, parameters)
        for output, expected in zip(outputs, run(GenerateEngine(tokenizer), model, requests, parameters), strict=True):
            assert (output.token_ids, output.finish_reason) == (expected.token_ids, expected.finish_reason)
            assert output.logprobs == (expected.logprobs and pytest.approx(expected.logprobs, abs=1e-4))


def test_a_completion_depends_on_its_seed_and_not_on_the_batch(engine):
    model, requests = adapted(0), make_requests(LENGTHS)
    together = [output.token_ids for output in run(engine, model, requests, params(temperature=1.0))]
    alone = [run(engine, model, [request], params(temperature=1.0))[0].token_ids for request in requests]
    assert together == alone


def test_all_weights_of_a_model_on_a_cpu_are_refused(engine):
    with pytest.raises(ValueError, match="on cpu cannot be sent .* --enable-lora"):
        run(engine, make_model(CONFIG), make_requests(LENGTHS), params())
