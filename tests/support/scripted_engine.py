# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""An engine whose completions are scripted."""

from star_trl.generation import Engine, GenerationOutput, StopStrings


class ScriptedEngine(Engine):
    """
    Answers from a function of the prompt's text, whatever the model. The function returns the completion's text; it
    ends with EOS, unless a stop string comes first or the text is longer than `max_new_tokens`.
    """

    def __init__(self, tokenizer, answer):
        self.tokenizer = tokenizer
        self.answer = answer
        self.prompts = []

    def generate(self, model, requests, params):
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        for index in reversed(range(len(requests))):  # in another order than asked, as engines may
            prompt = self.tokenizer.decode(requests[index].prompt_ids)
            self.prompts.append(prompt)
            ids = [*self.tokenizer(self.answer(prompt))["input_ids"], self.tokenizer.eos_token_id]
            reason = "eos"
            for length in range(1, len(ids) + 1):
                if found := stop_strings.reason(ids[:length]):
                    ids, reason = ids[:length], found
                    break
            limit = requests[index].limit(params)
            if len(ids) > limit:
                ids, reason = ids[:limit], "length"
            yield GenerationOutput(index=index, token_ids=ids, finish_reason=reason)
