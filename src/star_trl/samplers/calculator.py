# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calculator marks that are computed while the model writes."""

from ..tools.calculator import CALCULATOR
from . import RationaleSampler, Sampler, ToolSampler


class CalculatorSampler(ToolSampler):
    """
    Computes the calculator marks in a sampler's completions. Where the model has written `<<48/2=`, generation stops,
    `24>>` is inserted, and the model continues after it. The STaR paper (section 4.5) keeps this calculator of [Cobbe
    et al., 2021](https://huggingface.co/papers/2110.14168) for GSM8K. The inserted text is not trained on. Marks that
    hold no arithmetic are left to the model.

    Args:
        sampler ([`Sampler`], *optional*):
            The sampler, which keeps its name, its prompts and its settings. A [`RationaleSampler`] by default.

    Example:
    ```python
    >>> from star_trl import CalculatorSampler, RationaleSampler, RationalizationSampler

    >>> samplers = [CalculatorSampler(RationaleSampler()), CalculatorSampler(RationalizationSampler())]
    >>> [sampler.name for sampler in samplers]
    ['rationale', 'rationalization']
    ```
    """

    def __init__(self, sampler: Sampler | None = None):
        super().__init__(sampler or RationaleSampler(), CALCULATOR)
