# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over a server, with vLLM's own server started here."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest
import requests
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig

from star_trl import RationaleSampler
from star_trl.generation import GenerateEngine, VLLMServerEngine
from support.generation_models import TINY, make_model, make_requests, params, run, word_level_tokenizer


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")

LENGTHS = [3, 30, 7, 9]
TIMEOUT = 600
params = partial(params, max_new_tokens=12)
CONFIG = LlamaConfig(**{**TINY, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}, head_dim=32)


@pytest.fixture(scope="module")
def tokenizer():
    return word_level_tokenizer()


@pytest.fixture(scope="module")
def model_path(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("server") / "model"
    make_model(CONFIG).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


class Server:
    """A server that takes adapters."""

    def __init__(self, model_path, replicas=1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_path)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
        command += ["--enable-lora", "--max-lora-rank", "8", "--max-model-len", "256", "--max-num-seqs", "16"]
        command += ["--data-parallel-size", str(replicas), "--api-server-count", "1"]
        environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        with open(model_path.with_name(f"{port}.log"), "w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def mortal_server(model_path):
    server = Server(model_path)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def server(model_path):
    """The address of a server with two replicas."""
    server = Server(model_path, replicas=2)
    yield server.url
    server.kill()


@pytest.fixture(scope="module")
def engine(server, tokenizer):
    return VLLMServerEngine(tokenizer, Accelerator(cpu=True), batch_size=8, base_url=server, timeout=TIMEOUT)


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


def test_the_requests_are_spread_over_the_replicas(engine, server):
    run(engine, adapted(0), make_requests(LENGTHS), params())
    counts = re.findall(
        r'^vllm:generation_tokens_total{engine="(.)".* (.+)$', requests.get(f"{server}/metrics").text, re.M
    )
    assert [replica for replica, tokens in counts if float(tokens)] == ["0", "1"]


def test_a_completion_depends_on_its_seed_and_not_on_the_batch(engine):
    model, requests = adapted(0), make_requests(LENGTHS)
    together = [output.token_ids for output in run(engine, model, requests, params(temperature=1.0))]
    alone = [run(engine, model, [request], params(temperature=1.0))[0].token_ids for request in requests]
    assert together == alone


def test_all_weights_of_a_model_on_a_cpu_are_refused(engine):
    with pytest.raises(ValueError, match="on cpu cannot be sent .* --enable-lora"):
        run(engine, make_model(CONFIG), make_requests(LENGTHS), params())


def test_a_run_goes_on_after_its_server_has_died(make_trainer, model_path, server, mortal_server, tmp_path):
    """It ends with the samples of a run that was not interrupted."""
    calls = []

    def completions(trainer):
        return [(sample.problem_id, sample.completion_ids) for sample in trainer.ledger.read(2)]

    def reward(completions, **columns):
        calls.append(len(completions))
        if len(calls) == 14:  # the second group of the second iteration
            mortal_server.kill()
        return [1.0] * len(completions)

    def make(name, url, reward_funcs):
        torch.manual_seed(0)  # for the adapter
        return make_trainer(
            output_dir=str(tmp_path / name),
            model=str(model_path),
            peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
            reward_funcs=reward_funcs,
            samplers=[RationaleSampler(temperature=1.0)],
            few_shot_examples=None,
            train_dataset=Dataset.from_list([{"prompt": f"w{a} w{b}"} for a in range(6) for b in range(8)]),
            num_iterations=2,
            max_completion_length=12,
            stop_strings=None,
            mask_truncated_completions=False,
            generation_batch_size=4,
            use_vllm=True,
            vllm_mode="server",
            vllm_server_base_url=url,
            vllm_server_timeout=TIMEOUT,
        )

    uninterrupted = make("uninterrupted", server, lambda completions, **columns: [1.0] * len(completions))
    uninterrupted.train()
    expected = completions(uninterrupted)
    trainer = make("interrupted", mortal_server.url, reward)
    with pytest.raises(RuntimeError, match=f"vLLM server at {mortal_server.url} failed.*resume the run"):
        trainer.train()
    recorded = completions(trainer)
    assert 8 <= len(recorded) < len(expected) == 48
    resumed = make("interrupted", server, reward)
    resumed.train(resume_from_checkpoint=True)
    assert completions(resumed) == expected
    # None of the recorded samples was made again.
    assert sum(calls) == 2 * 48
