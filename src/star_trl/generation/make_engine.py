# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Creation of the engine that a configuration asks for."""

from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl.import_utils import is_vllm_available

from ..star_config import STaRConfig
from . import ContinuousBatchingEngine, Engine, PrefixSharingEngine, VLLMEngine


def make_engine(args: STaRConfig, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator) -> Engine:
    """Returns the engine that the configuration asks for."""
    if args.use_vllm:
        if not is_vllm_available():
            raise ImportError(
                "`use_vllm=True` needs vLLM, which is not installed. Install it with `pip install vllm`."
            )
        return VLLMEngine(
            tokenizer,
            accelerator,
            args.generation_batch_size or 256,
            mode=args.vllm_mode,
            model_impl=args.vllm_model_impl,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            structured_outputs_regex=args.vllm_structured_outputs_regex,
            server_base_url=args.vllm_server_base_url,
            server_host=args.vllm_server_host,
            server_port=args.vllm_server_port,
            server_timeout=args.vllm_server_timeout,
            group_port=args.vllm_group_port,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            tensor_parallel_size=args.vllm_tensor_parallel_size,
            trust_remote_code=args.trust_remote_code,
        )
    if args.use_transformers_continuous_batching:
        return ContinuousBatchingEngine(tokenizer, args.generation_batch_size or 256)
    return PrefixSharingEngine(tokenizer, args.generation_batch_size)
