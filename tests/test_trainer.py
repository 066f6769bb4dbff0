# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.


from conftest import solve_easy_and_hinted


def test_selection_is_the_papers(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    trainer.train()
    kept = {(s.problem_id, s.sampler) for s in trainer.ledger.read(1) if s.kept}
    # D_1: y_i = y_i*. D_1^rat: y_i != y_i* and y_i' = y_i*.
    assert kept == {(0, "rationale"), (1, "rationale"), (2, "rationalization")}
    proposed = {(s.problem_id, s.sampler) for s in trainer.ledger.read(1)}
    assert proposed == {(i, "rationale") for i in range(4)} | {(2, "rationalization"), (3, "rationalization")}
