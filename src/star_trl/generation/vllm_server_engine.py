# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over a vLLM server."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from urllib3.util import Retry

from .engine import GenerationOutput, GenerationRequest, Resume, ResumingEngine, SamplingParams
from .generate_engine import check_prompts
from .stopping import StopStrings
from .token_sampler import check_logprobs_are_raw
from .vllm_engine import check_generation_kwargs
from .vllm_weights import check_original_weights, checkpoint_weights, rank_of_adapter, save_adapter


if TYPE_CHECKING:
    import requests
    from peft import PeftModel
    from requests.adapters import HTTPAdapter
    from trl.generation.vllm_client import VLLMClient

HOW_TO_START = (
    "Start it with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL --enable-lora --max-lora-rank RANK` for "
    'adapters, or with `VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\'` '
    "for all weights of a model on a GPU."
)


class VLLMServerEngine(ResumingEngine):
    """
    Generates with a server that `vllm serve` started. Each completion is a request of its own. The server may have
    replicas (`--data-parallel-size`), over which it spreads the requests. Several servers behind one address are not
    supported, since only one of them would load an adapter.

    The weights are sent at the beginning of every call. A LoRA adapter is saved to a temporary folder, which the
    server has to see under the same path, and loaded by `/v1/load_lora_adapter`. The server has to serve the base
    model of the adapter with the same weights, which nothing checks. Other weights go over NCCL, which needs GPUs on
    both sides.

    Every request has its own random stream. Completions that pause are written to their end and cut at the pause.
    `generation_kwargs` are fields of vLLM's own sampling parameters.
    If the server ends, the call ends with an error, since a server that is started again has other weights. All
    processes have to call the engine together, with any number of requests each.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        accelerator ([`~accelerate.Accelerator`]):
            Accelerator that the model was prepared with.
        batch_size (`int`, *optional*, defaults to `256`):
            Number of completions that a process requests at the same time.
        base_url (`str`, *optional*, defaults to `"http://0.0.0.0:8000"`):
            Address of the server.
        timeout (`float`, *optional*, defaults to `240.0`):
            Seconds to wait for the server to be up.
        group_port (`int`, *optional*, defaults to `51216`):
            Port for NCCL.
        structured_outputs_regex (`str`, *optional*):
            Regular expression that completions must match.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Accelerator,
        batch_size: int = 256,
        base_url: str = "http://0.0.0.0:8000",
        timeout: float = 240.0,
        group_port: int = 51216,
        structured_outputs_regex: str | None = None,
    ):
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.group_port = group_port
        self.structured_outputs_regex = structured_outputs_regex
        self._client: VLLMClient | None = None
        self._files = TemporaryDirectory(prefix="star-trl-vllm-")
        self._adapters: list[str] = []

    def _generate(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        params: SamplingParams,
        resume: Resume | None,
    ) -> Iterator[GenerationOutput]:
        check_prompts(requests)
        if params.logprobs:
            # A server's `--logprobs-mode` may be that of TRL, `processed_logprobs`.
            check_logprobs_are_raw(params)
        check_generation_kwargs(params)
        client = self._connect()
        name = self._load(client, model)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)

        def complete(index: int, request: GenerationRequest) -> GenerationOutput:
            return self._complete(client, name, index, request, params, stop_strings)

        pool = ThreadPoolExecutor(self.batch_size)
        try:
            running = {pool.submit(complete, index, request) for index, request in enumerate(requests)}
            waiting: dict[Future[Any], GenerationOutput] = {}
            while running or waiting:
                done, _ = wait([*running, *waiting], return_when=FIRST_COMPLETED)
                for future in done:
                    if future in waiting:
                        output = waiting.pop(future)
                        rest = cast(Resume, resume).request(output, future.result())
                        if rest is None:
                            yield output
                        else:
                            running.add(pool.submit(complete, output.index, rest))
                        continue
                    running.remove(future)
                    output = future.result()
                    tool = resume.begin(output) if resume and output.finish_reason in params.resumable else None
                    if tool is None:
                        yield output
                    else:
                        waiting[tool] = output
        finally:
            pool.shutdown(cancel_futures=True)

    def _complete(
        self,
        client: "VLLMClient",
        name: str,
        index: int,
        request: GenerationRequest,
        params: SamplingParams,
        stop_strings: StopStrings,
    ) -> GenerationOutput:
        limit = request.limit(params)
        with self._asking():
            answer = client.generate(
                [request.prompt_ids],
                temperature=params.temperature,
                top_p=params.top_p,
                top_k=params.top_k,
                min_p=params.min_p or 0.0,
                max_tokens=limit,
                logprobs=0 if params.logprobs else None,
                structured_outputs_regex=self.structured_outputs_regex,
                generation_kwargs={
                    **params.generation_kwargs,
                    "model": name,
                    "seed": request.seed,
                    "stop": list(params.stop_strings),
                    "stop_token_ids": sorted(params.eos_token_ids),
                    "ignore_eos": True,  # those of `stop_token_ids` are all
                },
            )
        # One completion, with one log-probability for each token, that of the token sampled
        token_ids = answer["completion_ids"][0]
        logprobs = cast(list[list[list[float]]], answer["logprobs"])[0] if params.logprobs else None
        sampled = None if logprobs is None else [candidates[0] for candidates in logprobs]
        return stop_strings.cut(index, list(token_ids), sampled, params, limit)

    def _connect(self) -> "VLLMClient":
        from trl.generation.vllm_client import VLLMClient

        if self._client is None:
            self._client = VLLMClient(self.base_url, group_port=self.group_port, connection_timeout=self.timeout)
            adapter = cast("HTTPAdapter", self._client.session.get_adapter(self.base_url))
            # One connection for each request under way
            adapter.init_poolmanager(1, self.batch_size)
            # TRL's client would try for a minute, in which a server that is started again takes requests with its
            # original weights. Only what was sent over a connection that the server had closed is sent again.
            adapter.max_retries = Retry(connect=0, read=1, status=0, allowed_methods=None)
        return self._client

    def _load(self, client: "VLLMClient", model: PreTrainedModel) -> str:
        """Gives the weights of the model to the server. Returns the name under which it serves them."""
        name = [self._send(client, model) if self.accelerator.is_main_process else None]
        broadcast_object_list(name)
        return cast(str, name[0])

    def _send(self, client: "VLLMClient", model: PreTrainedModel) -> str:
        if rank_of_adapter(model) is not None and self._send_adapter(client, cast("PeftModel", model)):
            return self._adapters[-1]
        device = self.accelerator.device
        if device.type != "cuda":
            raise ValueError(
                f"The weights of a model on {device.type} cannot be sent to the vLLM server at {self.base_url}, only "
                f"those of a LoRA adapter without DoRA, biases or further modules. {HOW_TO_START} Or set "
                "`vllm_mode='colocate'`."
            )
        weights = list(checkpoint_weights(model))
        names = [(name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for name, tensor in weights]
        with self._asking():
            if client.communicator is None:
                client.init_communicator(device)
            client.update_named_params(names, iter(weights))
            client.reset_prefix_cache()
        return client.model

    def _send_adapter(self, client: "VLLMClient", model: "PeftModel") -> bool:
        """Returns whether the server takes adapters."""
        # A name that no other run has, so the server does not answer with keys and values of another adapter
        folder = Path(self._files.name) / f"policy-{uuid4().hex}"
        save_adapter(model, folder)
        response = self._post(client, "load", lora_name=folder.name, lora_path=str(folder))
        if response.status_code == 404 and "detail" in response.json():
            return False
        check_original_weights(model, f"the vLLM server at {self.base_url} has")
        if response.status_code != 200:
            raise RuntimeError(
                f"The vLLM server at {self.base_url} did not load the adapter in {folder}, which has to be a folder "
                f"of its machine as well: {response.status_code}, {response.text}. {HOW_TO_START}"
            )
        for old in self._adapters:
            self._post(client, "unload", lora_name=old)
            shutil.rmtree(folder.with_name(old))
        self._adapters = [folder.name]
        return True

    def _post(self, client: "VLLMClient", what: str, **arguments: str) -> "requests.Response":
        with self._asking():
            return client.session.post(f"{self.base_url}/v1/{what}_lora_adapter", json=arguments)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # TRL raises `Exception` itself for what the server refuses
            raise RuntimeError(
                f"A request to the vLLM server at {self.base_url} failed: {error}. Its log says why. If it has ended, "
                "start it again and resume the run: samples that are recorded are not made again."
            ) from error
