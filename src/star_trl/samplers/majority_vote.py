# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Pseudo-labels by majority vote, for problems without ground truth."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from .base import Completion, Generate, Prompt
from .rationale import RationaleSampler


class MajorityVoteSampler(RationaleSampler):
    """
    Bootstraps without ground truth. It draws several rationales for every problem and scores them against the answer
    that most of them end with (section 5 of the STaR paper; self-consistency, Wang et al. 2022, as pseudo-labels).

    Args:
        extract_answer (`Callable[[str], str | None]`):
            Finds the answer in the text of a completion. `None` means that there is none, and casts no vote.
            Completions cut by the length limit cast none either. Ties go to the answer whose first sample has the
            lowest index.
        num_generations (`int`, *optional*, defaults to `8`):
            Completions per problem: the number of votes.
        temperature (`float`, *optional*, defaults to `0.7`):
            Sampling temperature.
        top_p (`float`, *optional*):
            Cumulative probability of the most likely tokens to keep. As in [`STaRConfig`] by default.
        top_k (`int`, *optional*):
            Number of most likely tokens to keep. As in [`STaRConfig`] by default.
    """

    name = "majority_vote"
    supplies_answer = True
    compares_samples = True

    def __init__(
        self,
        extract_answer: Callable[[str], str | None],
        num_generations: int = 8,
        temperature: float = 0.7,
        top_p: float | None = None,
        top_k: int | None = None,
    ):
        super().__init__(num_generations=num_generations, temperature=temperature, top_p=top_p, top_k=top_k)
        self.extract_answer = extract_answer

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        missing = Counter(prompt.problem for prompt in prompts)
        completions: dict[int, list[Completion]] = defaultdict(list)
        for completion in generate(prompts):
            problem = completion.prompt.problem
            completions[problem].append(completion)
            missing[problem] -= 1
            if not missing[problem]:
                voters = completions.pop(problem)
                answer = self._vote(voters, generate.tokenizer)
                yield from (replace(voter, answer=answer) for voter in voters)

    def _vote(self, voters: list[Completion], tokenizer: PreTrainedTokenizerBase) -> str | None:
        # In the order of the samples, not in the order in which they finish, so that ties are the same in every run.
        whole = [voter for voter in voters if voter.finish_reason not in ("length", "pause")]
        if not whole:  # `batch_decode` would make one empty text of them
            return None
        whole.sort(key=lambda voter: voter.prompt.sample_index)
        texts = tokenizer.batch_decode([voter.token_ids for voter in whole], skip_special_tokens=True)
        votes = Counter(answer for answer in map(self.extract_answer, texts) if answer is not None)
        return votes.most_common(1)[0][0] if votes else None
