# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""STaR, the Self-Taught Reasoner, as a trainer for Hugging Face TRL."""

import lazy_loader


# Imports the names of `__init__.pyi` when they are first used, since torch, transformers and trl take seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
