# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""An engine whose completions are compared with those of another one while a run goes on."""

from star_trl.generation import Engine, GenerationOutput


class ComparedEngine(Engine):
    """
    Generates with two engines, and yields what the first one wrote.

    Args:
        engine ([`~star_trl.generation.Engine`]):
            The engine.
        reference ([`~star_trl.generation.Engine`]):
            The other one.

    Attributes:
        calls (`list[tuple[float, list[GenerationOutput], list[GenerationOutput]]]`):
            For each call the sum of the model's absolute weights, the completions of the engine and those of the
            reference.
    """

    def __init__(self, engine: Engine, reference: Engine):
        self.engine = engine
        self.reference = reference
        self.calls: list[tuple[float, list[GenerationOutput], list[GenerationOutput]]] = []

    def generate(self, model, requests, params):
        outputs = sorted(self.engine.generate(model, requests, params), key=lambda output: output.index)
        expected = sorted(self.reference.generate(model, requests, params), key=lambda output: output.index)
        weights = sum(parameter.double().abs().sum().item() for parameter in model.parameters())
        self.calls.append((weights, outputs, expected))
        yield from outputs


def check_calls(engine: ComparedEngine, num_models: int) -> None:
    """Checks that the engines agreed on every completion of as many different models."""
    assert len({weights for weights, _, _ in engine.calls}) == num_models
    for _, outputs, expected in engine.calls:
        assert [output.token_ids for output in outputs] == [output.token_ids for output in expected]
