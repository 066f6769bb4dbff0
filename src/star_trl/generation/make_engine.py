# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Creation of the engine that a configuration asks for."""

from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl.import_utils import is_vllm_available

from ..star_config import STaRConfig
from . import ContinuousBatchingEngine, Engine, PrefixSharingEngine, VLLMEngine, VLLMServerEngine


def make_engine(args: STaRConfig, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator) -> Engine:
    """Returns the engine that the configuration asks for."""
    if args.use_vllm:
        if not is_vllm_available():
            raise ImportError(
                "`use_vllm=True` needs vLLM, which is not installed. Install it with `pip install vllm`."
            )
        batch_size = args.generation_batch_size or 256
        if args.vllm_mode == "server":
            return VLLMServerEngine(
                tokenizer,
                accelerator,
                batch_size,
                base_url=args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}",
                timeout=args.vllm_server_timeout,
                group_port=args.vllm_group_port,
                structured_outputs_regex=args.vllm_structured_outputs_regex,
            )
        return VLLMEngine(
            tokenizer,
            accelerator,
            batch_size,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            tensor_parallel_size=args.vllm_tensor_parallel_size,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            model_impl=args.vllm_model_impl,
            structured_outputs_regex=args.vllm_structured_outputs_regex,
            trust_remote_code=args.trust_remote_code,
        )
    if args.use_transformers_continuous_batching:
        return ContinuousBatchingEngine(tokenizer, args.generation_batch_size or 256)
    return PrefixSharingEngine(tokenizer, args.generation_batch_size)
