# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tests on vLLM itself, on a CPU: `make test-vllm`. Each file runs in a process of its own."""

import os


# Read by vLLM when it is imported. The cache of a tiny model needs little.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
