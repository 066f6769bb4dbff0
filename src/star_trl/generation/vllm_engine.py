# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over vLLM in the process of the trainer."""

import copy
import inspect
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.utils import ensure_master_addr_port

from .engine import GenerationOutput, GenerationRequest, Resume, ResumingEngine, SamplingParams
from .generate_engine import check_prompts
from .model_state import base_model
from .stopping import StopStrings
from .vllm_weights import (
    RANKS,
    check_original_weights,
    checkpoint_weights,
    dtype_of,
    named_weights,
    rank_of_adapter,
    save_adapter,
)


if TYPE_CHECKING:
    from peft import PeftModel
    from vllm import LLM, RequestOutput
    from vllm.lora.request import LoRARequest

# Fields of vLLM's sampling parameters that are refused in `generation_kwargs`
RESERVED_FIELDS = frozenset(
    {
        *("n", "seed", "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "stop_token_ids", "ignore_eos"),
        *("logprobs", "prompt_logprobs", "detokenize", "include_stop_str_in_output", "output_kind"),
        "structured_outputs",
    }
)


class VLLMEngine(ResumingEngine):
    """
    Generates with vLLM in the process of the trainer.

    vLLM holds a copy of the weights in the type that the model computes in. It starts without weights, and gets those
    of the model at the beginning of every call, so it cannot sample from a stale policy. A LoRA adapter is loaded
    beside them. An adapter that vLLM cannot load is merged into the copy.

    Every request has its own random stream. Its numbers depend on the seed alone, but vLLM's probabilities depend in
    their last bits on what else is in the batch. Prompts that begin alike share the keys and values of the beginning.
    `generation_kwargs` are fields of vLLM's own sampling parameters.

    With `tensor_parallel_size` above 1, the processes of a group have to call the engine together, with any number of
    requests each.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        accelerator ([`~accelerate.Accelerator`]):
            Accelerator that the model was prepared with.
        batch_size (`int`, *optional*, defaults to `256`):
            Number of completions generated together.
        gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the device's memory that vLLM takes.
        max_model_length (`int`, *optional*):
            Maximum length of prompt and completion. The model's by default.
        tensor_parallel_size (`int`, *optional*, defaults to `1`):
            Number of processes that hold one copy together.
        enable_sleep_mode (`bool`, *optional*, defaults to `False`):
            Whether vLLM gives its memory back between calls. GPUs only.
        model_impl (`str`, *optional*, defaults to `"auto"`):
            vLLM's implementation of the model: `"auto"`, `"vllm"` or `"transformers"`.
        structured_outputs_regex (`str`, *optional*):
            Regular expression that completions must match.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether vLLM may run code from the model's repository.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Accelerator,
        batch_size: int = 256,
        gpu_memory_utilization: float = 0.3,
        max_model_length: int | None = None,
        tensor_parallel_size: int = 1,
        enable_sleep_mode: bool = False,
        model_impl: str = "auto",
        structured_outputs_regex: str | None = None,
        trust_remote_code: bool = False,
    ):
        if accelerator.num_processes % tensor_parallel_size:
            raise ValueError(
                f"`tensor_parallel_size={tensor_parallel_size}` does not divide the {accelerator.num_processes} "
                "processes. Each copy of the model needs that many processes."
            )
        check_platform(accelerator.device, enable_sleep_mode)
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.tensor_parallel_size = tensor_parallel_size
        self.enable_sleep_mode = enable_sleep_mode
        self.structured_outputs_regex = structured_outputs_regex
        self.arguments: dict[str, Any] = {
            "max_num_seqs": batch_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_model_len": max_model_length,
            "model_impl": model_impl,
            "trust_remote_code": trust_remote_code,
        }
        self._llm: LLM | None = None
        self._started_with: tuple[torch.dtype, int | None] | None = None
        self._quantized = False
        self._checked = False
        self._group: Any = None
        self._numbers = count(1)
        self._files = TemporaryDirectory(prefix="star-trl-vllm-")

    def _generate(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        params: SamplingParams,
        resume: Resume | None,
    ) -> Iterator[GenerationOutput]:
        if resume is not None and self.tensor_parallel_size > 1:
            raise ValueError(
                f"Completions that pause for a tool go on at different times in each process, but with "
                f"`vllm_tensor_parallel_size={self.tensor_parallel_size}` the processes of a group step together. "
                "Set it to 1, or use the default engine."
            )
        check_prompts(requests)
        check_generation_kwargs(params)
        llm, adapter = self._load(model)
        own, requests = self._requests_of_group(requests)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        batch = _Batch(llm, stop_strings, params, adapter, self.structured_outputs_regex)
        waiting: dict[Future[Any], GenerationOutput] = {}
        try:
            for index, request in enumerate(requests):
                batch.add(index, request)
            while batch.running or waiting:
                for output in batch.step() if batch.running else ():
                    future = resume.begin(output) if resume and output.finish_reason in params.resumable else None
                    if future is not None:
                        waiting[future] = output
                    elif output.index in own:
                        yield replace(output, index=output.index - own.start)
                if resume is None or not waiting:
                    continue
                # A completion that waits does not hold up the others.
                done, _ = wait(waiting, timeout=0 if batch.running else None, return_when=FIRST_COMPLETED)
                for future in done:
                    paused = waiting.pop(future)
                    rest = resume.request(paused, future.result())
                    if rest is None:
                        yield paused
                    else:
                        batch.add(paused.index, rest)
        finally:
            batch.abort()
            if self.enable_sleep_mode:
                # Level 2 drops the weights, which come again with the next call. Those of a quantized model do not.
                llm.sleep(level=1 if self._quantized else 2)

    def _requests_of_group(self, requests: Sequence[GenerationRequest]) -> tuple[range, Sequence[GenerationRequest]]:
        """Returns the requests of all processes that hold a copy together, and which of them are of this process."""
        if self.tensor_parallel_size == 1:
            return range(len(requests)), requests
        shares: list[Any] = [None] * self.tensor_parallel_size
        torch.distributed.all_gather_object(shares, list(requests), group=self._group)
        start = sum(map(len, shares[: torch.distributed.get_rank(self._group)]))
        return range(start, start + len(requests)), [request for share in shares for request in share]

    def _load(self, model: PreTrainedModel) -> "tuple[LLM, LoRARequest | None]":
        """Gives the weights of the model to vLLM, which starts at the first call. Returns the adapter to use."""
        dtype, rank = dtype_of(model), rank_of_adapter(model)
        if self._llm is None:
            self._llm = self._start(model, dtype, rank)
            self._started_with = (dtype, rank)
        elif self._started_with != (dtype, rank):
            raise ValueError(
                f"vLLM was started for (dtype, rank of the adapter) = {self._started_with}, and the model now has "
                f"{(dtype, rank)}. Make a new engine for it."
            )
        elif self.enable_sleep_mode:
            self._llm.wake_up()
        if not self._quantized:
            weights = checkpoint_weights(model, merge=rank is None)
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            self._llm.apply_model(_renew_heads)
            if not self._checked:
                self._llm.apply_model(_check_all_loaded)
                self._checked = True
        _reset_prefix_cache(self._llm)
        return self._llm, None if rank is None else self._adapter(model)

    def _adapter(self, model: PreTrainedModel) -> "LoRARequest":
        from vllm.lora.request import LoRARequest

        # A new number each time, since vLLM keeps what it has loaded under a number
        number = next(self._numbers)
        folder = Path(self._files.name) / f"adapter-{number}"
        shutil.rmtree(folder.with_name(f"adapter-{number - 1}"), ignore_errors=True)
        save_adapter(cast("PeftModel", model), folder)
        return LoRARequest(folder.name, number, str(folder))

    def _start(self, model: PreTrainedModel, dtype: torch.dtype, rank: int | None) -> "LLM":
        from vllm import LLM

        base = base_model(model)
        folder = self._files.name
        self.tokenizer.save_pretrained(folder)
        self._quantized = getattr(base.config, "quantization_config", None) is not None
        if self._quantized and rank is None:
            raise ValueError(
                "vLLM reads a quantized model from its checkpoint and takes no other weights for it than those of a "
                "LoRA adapter, without DoRA, biases or further modules. Train such an adapter, load the model "
                "without quantization, or leave out `use_vllm`."
            )
        if self._quantized:
            check_original_weights(cast("PeftModel", model), "vLLM reads from the checkpoint of a quantized model")
        else:
            config = copy.deepcopy(base.config)
            config.architectures = [type(base).__name__]
            config.save_pretrained(folder)
        if self.tensor_parallel_size > 1:
            self._group, _ = torch.distributed.new_subgroups(self.tensor_parallel_size)
        on_cpu = self.accelerator.device.type == "cpu"
        with launcher_environment(self.accelerator):
            llm = LLM(
                model=base.name_or_path if self._quantized else folder,
                load_format="auto" if self._quantized else "dummy",
                tokenizer=folder,
                dtype=str(dtype).removeprefix("torch."),
                enable_lora=rank is not None,
                max_lora_rank=rank or RANKS[0],
                max_loras=1,
                tensor_parallel_size=self.tensor_parallel_size,
                # Steps in this process, as one of those that the trainer was launched with
                distributed_executor_backend="external_launcher",
                # The processes of a group have to draw the same tokens.
                seed=self.accelerator.process_index // self.tensor_parallel_size,
                # Under the model itself, before temperature and truncation
                logprobs_mode="raw_logprobs",
                # vLLM's own default is high, and it reserves memory for as many, see TRL's `VLLMGeneration`.
                max_num_batched_tokens=max(4096, self.arguments["max_num_seqs"]),
                enable_sleep_mode=self.enable_sleep_mode,
                # Compilation for CPUs takes minutes.
                enforce_eager=on_cpu,
                **self.arguments,
            )
        if not self._quantized:
            llm.apply_model(_fill_with_nan)
        return llm


@dataclass
class _Row:
    """A completion that is being generated."""

    index: int
    limit: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class _Batch:
    """
    The requests of one call, in vLLM.

    Args:
        llm (`vllm.LLM`):
            vLLM, without other requests.
        stop_strings ([`StopStrings`]):
            Texts that end a completion.
        params ([`SamplingParams`]):
            How to sample.
        adapter (`vllm.lora.request.LoRARequest`, *optional*):
            Adapter to sample with.
        regex (`str`, *optional*):
            Regular expression that completions must match.

    Attributes:
        running (`dict[str, _Row]`):
            The completions that are not finished.
    """

    numbers = count()

    def __init__(
        self,
        llm: "LLM",
        stop_strings: StopStrings,
        params: SamplingParams,
        adapter: "LoRARequest | None",
        regex: str | None,
    ):
        self.engine = llm.llm_engine
        self.stop_strings = stop_strings
        self.params = params
        self.adapter = adapter
        self.regex = regex
        self.running: dict[str, _Row] = {}
        self._may_stop = bool(params.stop_strings or params.pause_between)

    def add(self, index: int, request: GenerationRequest) -> None:
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.sampling_params import SamplingParams as VLLMSamplingParams

        limit = request.limit(self.params)
        name = str(next(self.numbers))
        sampling = VLLMSamplingParams(
            temperature=self.params.temperature,
            top_p=self.params.top_p,
            top_k=self.params.top_k,
            min_p=self.params.min_p or 0.0,
            max_tokens=limit,
            seed=request.seed,
            stop_token_ids=sorted(self.params.eos_token_ids),
            ignore_eos=True,  # those of `stop_token_ids` are all
            logprobs=0 if self.params.logprobs else None,  # of the sampled token alone
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if self._may_stop else RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(regex=self.regex) if self.regex else None,
            **self.params.generation_kwargs,
        )
        prompt = {"prompt_token_ids": request.prompt_ids}
        self.engine.add_request(name, prompt, sampling, lora_request=self.adapter)
        self.running[name] = _Row(index, limit)

    def step(self) -> list[GenerationOutput]:
        """Generates the next token of every completion. Returns those that are finished."""
        parts = [part for part in self.engine.step() if part.request_id in self.running]
        ended = []
        for part, may_have_stopped in zip(parts, self._may_have_stopped(parts), strict=True):
            row, new = self.running[part.request_id], part.outputs[0]
            row.token_ids += new.token_ids
            if self.params.logprobs:
                row.logprobs += [
                    found[token].logprob for token, found in zip(new.token_ids, new.logprobs, strict=True)
                ]
            if part.finished and new.finish_reason not in ("stop", "length"):
                raise RuntimeError(
                    f"vLLM ended request {row.index} after {len(row.token_ids)} tokens with the reason "
                    f"{new.finish_reason!r}, where `'stop'` or `'length'` was expected. Its log above says why."
                )
            if part.finished or (may_have_stopped and self.stop_strings.reason(row.token_ids)):
                logprobs = row.logprobs if self.params.logprobs else None
                ended.append(self.stop_strings.cut(row.index, row.token_ids, logprobs, self.params, row.limit))
                if not part.finished:
                    self.engine.abort_request([part.request_id])
                del self.running[part.request_id]
        return ended

    def _may_have_stopped(self, parts: "list[RequestOutput]") -> list[bool]:
        if not self._may_stop or not parts:
            return [False] * len(parts)
        counts = [len(part.outputs[0].token_ids) for part in parts]
        new = torch.tensor([token for part in parts for token in part.outputs[0].token_ids], dtype=torch.long)
        return [bool(flags.any()) for flags in self.stop_strings.may_complete(new).split(counts)]

    def abort(self) -> None:
        """Ends what is still running, after an error or when nobody wants the rest."""
        self.engine.abort_request(list(self.running))
        self.running.clear()


@contextmanager
def launcher_environment(accelerator: Accelerator) -> Iterator[None]:
    """Sets the environment variables from which vLLM reads where this process stands among those of the trainer."""
    before = dict(os.environ)
    os.environ.update(
        RANK=str(accelerator.process_index),
        LOCAL_RANK=str(accelerator.local_process_index),
        WORLD_SIZE=str(accelerator.num_processes),
    )
    ensure_master_addr_port()
    # Training runs in the same threads, so vLLM may not bind them to cores.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        yield
    finally:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def check_platform(device: torch.device, sleep_mode: bool) -> None:
    """Raises `ValueError` if the installed vLLM is for another kind of device, or has no sleep mode there."""
    from vllm.platforms import current_platform

    if current_platform.device_type != device.type:
        raise ValueError(
            f"vLLM is installed for {current_platform.device_type or 'no device of this machine'}, but the model is "
            f"on {device.type}. Install the vLLM for {device.type}, or leave out `use_vllm`."
        )
    if sleep_mode and not current_platform.is_sleep_mode_available():
        raise ValueError(f"vLLM has no sleep mode on {device.type}. Leave out `vllm_enable_sleep_mode`.")


def check_generation_kwargs(params: SamplingParams) -> None:
    """Raises `ValueError` for `generation_kwargs` that vLLM does not have or that the engine sets itself."""
    from vllm import SamplingParams as VLLMSamplingParams

    known = set(inspect.signature(VLLMSamplingParams).parameters) - RESERVED_FIELDS
    wrong = sorted(params.generation_kwargs.keys() - known)
    if wrong:
        raise ValueError(
            f"`generation_kwargs` contains {wrong}. With vLLM they are fields of `vllm.SamplingParams`, without those "
            f"that other settings set (a regular expression: `vllm_structured_outputs_regex`). Leave them out, or use "
            f"some of {sorted(known)}."
        )


def _fill_with_nan(model: nn.Module) -> None:
    """Makes weights recognizable that no sync reaches. vLLM only logs them."""
    for _, weight in _plain_weights(model):
        weight.fill_(torch.nan)


def _check_all_loaded(model: nn.Module) -> None:
    missing = [name for name, weight in _plain_weights(model) if weight.isnan().any()]
    if missing:
        raise RuntimeError(
            f"vLLM has parameters or buffers that no weight of the model was loaded into, or that are not numbers: "
            f"{missing}. Its names for this model differ from those of transformers. Use the default engine."
        )


def _plain_weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, weight in named_weights(model):
        if weight.dtype in (torch.float16, torch.bfloat16, torch.float32):
            yield name, weight


def _renew_heads(model: nn.Module) -> None:
    """
    Packs the output heads again. On CPUs vLLM multiplies by a packed copy of the head, and loading the embeddings that
    the head is tied to leaves the copy as it was.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod

    for module in model.modules():
        if isinstance(module, ParallelLMHead) and isinstance(module.quant_method, UnquantizedEmbeddingMethod):
            module.quant_method.process_weights_after_loading(module)


def _reset_prefix_cache(llm: "LLM") -> None:
    """Drops keys and values of earlier weights."""
    if llm.reset_prefix_cache():
        return
    # A step that was under way when requests were aborted still holds some.
    llm.llm_engine.step()
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM did not drop the keys and values of the earlier weights. Restart the run.")
