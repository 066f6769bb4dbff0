# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A page that shows what a model thinks behind each token of a text."""

from html import escape
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from ..generation.model_state import evaluation_mode
from .quiet_model import QuietSTaRModel


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thoughts</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
.text {{ font-size: 1.2rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
.text span {{ border-radius: .2rem; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .8rem; text-align: left; }}
tr {{ border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }}
td.number, th.number {{ text-align: right; }}
code {{ white-space: pre-wrap; }}
</style>
<h1>Thoughts behind each token</h1>
<p class="text">{text}</p>
<p>A token is green where the thought before it made it more likely, and red where it made it less likely.</p>
<div class="table"><table>
<tr><th>after</th><th>thought</th><th>next token</th><th class="number">without</th><th class="number">with</th>
<th class="number">reward</th></tr>
{rows}
</table></div>
<p><em>without</em> and <em>with</em> are the probabilities of the next token without and with the thought. The
<em>reward</em> is what the thought adds to the log-probability of the next {num_true_tokens} tokens, in nats.</p>
</html>
"""


@torch.no_grad()
def write_thought_page(
    model: QuietSTaRModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    path: str | Path,
    num_positions: int = 10,
) -> Path:
    """
    Writes a page with the first positions of a text. Each has its greedy thought, the probability of the next token
    with and without it, and its reward.

    Args:
        model ([`QuietSTaRModel`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        text (`str`):
            The text.
        path (`str` or `Path`):
            HTML file to write.
        num_positions (`int`, *optional*, defaults to `10`):
            Number of positions in the table. The text is shown whole.

    Returns:
        `Path`: The file.
    """
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    with evaluation_mode(model):
        output = model(ids)
    tokens = [str(tokenizer.decode([token])) for token in ids[0]]
    without, with_thought = (-output.nll[0]).exp(), (-output.nll_with_thoughts[0, 0, :, 0]).exp()
    gains = (output.nll - output.nll_with_thoughts[:, 0, :, 0])[0].tolist()
    rewards = output.rewards()[0, 0].tolist()
    colored = [escape(tokens[0])]
    for token, gain in zip(tokens[1:], gains, strict=False):
        color, share = ("seagreen" if gain > 0 else "crimson"), min(abs(gain), 1.0)
        style = f"background: color-mix(in srgb, {color} {60 * share:.0f}%, transparent)"
        colored.append(f'<span style="{style}" title="{gain:+.2f} nats">{escape(token)}</span>')
    rows = []
    for position in range(min(num_positions, len(tokens) - 1)):
        thought = str(tokenizer.decode(output.thought_ids[0, 0, position]))
        numbers = (f"{without[position]:.1%}", f"{with_thought[position]:.1%}", f"{rewards[position]:+.3f}")
        texts = (repr(tokens[position])[1:-1], thought, repr(tokens[position + 1])[1:-1])
        cells = [f"<td><code>{escape(cell)}</code></td>" for cell in texts]
        cells += [f'<td class="number">{number}</td>' for number in numbers]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    page = PAGE.format(text="".join(colored), rows="\n".join(rows), num_true_tokens=model.num_true_tokens)
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path
