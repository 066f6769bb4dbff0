# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reads the results of raters, and computes which source they prefer and how far they agree."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean, variance
from typing import Any

from ..ledger.interval import confidence_interval


NUM_RESAMPLES = 9_999  # of the test, if the signs of the questions have more combinations
INSTALL = "`star-trl compare --results` needs scipy for its test: pip install 'star-trl[compare]'"

# A preference between two sources: 1 for the first, 0 for the second, 0.5 for a tie
Preferences = dict[tuple[int, int], float]


@dataclass(frozen=True, kw_only=True)
class Results:
    """
    What one rater said.

    Args:
        rater (`str`):
            Name of the rater, a person or a model.
        sources (`list[str]`):
            The sources of the comparison.
        preferences (`dict[str, dict[tuple[int, int], float]]`):
            For each question, by its id, the preferences between the sources, by their numbers.
    """

    rater: str
    sources: list[str]
    preferences: dict[str, Preferences]


def read_results(path: str | os.PathLike) -> Results:
    """
    Reads a file of results, as the page or a judge writes it.

    Args:
        path (`str` or `os.PathLike`):
            The `.json` file.

    Raises:
        `ValueError`: If it is not such a file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        rater, sources, questions = (content[name] for name in ("rater", "sources", "questions"))
        if not isinstance(rater, str) or not isinstance(sources, list) or not all(isinstance(n, str) for n in sources):
            raise TypeError("`rater` must be a text, and `sources` a list of texts")
        preferences = {row["question"]: _preferences(row, len(sources)) for row in questions}
        if len(preferences) < len(questions):
            raise ValueError("a question is in it twice")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)} is no file of results ({error!r}). Give the files that the page of `star-trl compare` "
            "saves, or those that its judge writes."
        ) from error
    return Results(rater=rater, sources=sources, preferences=preferences)


def _preferences(row: dict[str, Any], num_sources: int) -> Preferences:
    if "ranks" in row:  # of a person
        ranks = row["ranks"]
        if len(ranks) != num_sources or not all(type(rank) is int for rank in ranks):
            raise TypeError(f"`ranks` is {ranks!r:.80}, expected {num_sources} whole numbers")
        pairs = combinations(range(num_sources), 2)
        return {(a, b): 0.5 + 0.5 * ((ranks[a] < ranks[b]) - (ranks[a] > ranks[b])) for a, b in pairs}
    found: Preferences = {}
    for a, b, winner in row["pairs"]:  # of a model
        if not (type(a) is type(b) is int and 0 <= a < b < num_sources) or winner not in (a, b, None):
            raise TypeError(f"a pair is {[a, b, winner]!r:.80}, expected two sources and the better one or null")
        found[a, b] = 0.5 if winner is None else float(winner == a)
    return found


def compare_results(results: Sequence[Results]) -> dict[str, Any]:
    """
    Computes which source raters prefer (section 4.4 of [STaR](https://huggingface.co/papers/2203.14465)).

    The questions are the units. The rankings of one question are averaged first, since they are not independent.

    - The share of a pair is how often the first is preferred, with a tie as half of each. Its 95% interval is
      Wilson's, with the effective number of questions, `share * (1 - share) / (variance / n)`. This is between the
      number of questions, which it is with one rater, and that of rankings.
    - `more_likely` is `share / (1 - share) - 1`: 0.3 is the paper's "30% more likely".
    - `p` is of a sign-flip permutation test over the questions, two-sided. With one rater and no ties it is the sign
      test. It is exact up to 13 questions, and estimated with 9,999 draws above.
    - The score of a source is its share over all others, and its mean rank follows from it.
    - Agreement is Krippendorff's alpha, nominal, of the preferences in all pairs and questions. Which source of a pair
      is the first has no meaning, so every preference counts from both sides. By chance, the first is then preferred
      as often as the second.

    Args:
        results (`list[Results]`):
            Results of raters, as [`read_results`] reads them.

    Returns:
        `dict[str, Any]`: `raters`, `questions`, `sources` (the best first), `pairs` and `agreement`.

    Raises:
        `ImportError`: If scipy is not installed.
        `ValueError`: If the results have different sources, a rater twice for a question, or no preference.
    """
    sources = results[0].sources
    for other in results:
        if other.sources != sources:
            raise ValueError(
                f"Results are of different sources: {sources} of {results[0].rater}, and {other.sources} of "
                f"{other.rater}. Give results of the same comparison."
            )
    seen = Counter((each.rater, question) for each in results for question in each.preferences)
    if twice := [rater for (rater, _), count in seen.items() if count > 1]:
        raise ValueError(
            f"The rater {twice[0]!r} has ranked a question twice. Leave out one of the files, or give the raters "
            "different names in their files."
        )
    # For each pair and question, the preferences of the raters
    by_pair: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in results:
        for question, preferences in each.preferences.items():
            for pair, value in preferences.items():
                by_pair[pair][question].append(value)
    if not by_pair:
        raise ValueError("The results have no ranked question.")
    units = [values for questions in by_pair.values() for values in questions.values()]
    pairs = []
    for (a, b), questions in sorted(by_pair.items()):
        share, low, high = _share(questions.values())
        counts = Counter(value for values in questions.values() for value in values)
        pairs.append(
            {
                "first": sources[a],
                "second": sources[b],
                "questions": len(questions),
                "rankings": sum(counts.values()),
                "first_wins": counts[1.0],
                "ties": counts[0.5],
                "second_wins": counts[0.0],
                "share": share,
                "share_interval": [low, high],
                "more_likely": _more_likely(share),
                "more_likely_interval": [_more_likely(low), _more_likely(high)],
                "p": _sign_flip_test([mean(values) for values in questions.values()]),
            }
        )
    return {
        "raters": sorted({each.rater for each in results}),
        "questions": len({question for each in results for question in each.preferences}),
        "sources": _ranking(sources, results),
        "pairs": pairs,
        "agreement": agreement(units + [_turned(values) for values in units]),
    }


def _turned(values: Iterable[float]) -> list[float]:
    """Returns preferences for the first of two sources as those for the second."""
    return [1 - value for value in values]


def _ranking(sources: list[str], results: Sequence[Results]) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(sources):
        scores: dict[str, list[float]] = defaultdict(list)  # for each question, the share of others that it beats
        for each in results:
            for question, preferences in each.preferences.items():
                own = [v if a == number else 1 - v for (a, b), v in preferences.items() if number in (a, b)]
                if own:
                    scores[question].append(mean(own))
        if scores:
            share, low, high = _share(scores.values())
            ranks = [len(sources) - (len(sources) - 1) * value for value in (share, high, low)]
            rows.append(
                {"source": name, "score": share, "score_interval": [low, high], "mean_rank": ranks[0]}
                | {"mean_rank_interval": ranks[1:]}
            )
    return sorted(rows, key=lambda row: -row["score"])


def _share(questions: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    """Returns the mean over questions of the mean over raters, and its 95% interval."""
    values = list(questions)
    means = [mean(ratings) for ratings in values]
    share, count = mean(means), float(len(means))
    spread = variance(means) if len(means) > 1 else 0.0
    if spread > 0:
        effective = share * (1 - share) / (spread / count)
        count = min(max(effective, count), sum(map(len, values)))
    return (share, *confidence_interval(share, count))


def _more_likely(share: float) -> float | None:
    """Returns how much more likely the first is preferred than the second, or `None` if always."""
    return None if share == 1 else share / (1 - share) - 1


def _sign_flip_test(means: Sequence[float]) -> float:
    """Returns the p-value for the mean preference being a half, if each question may have come out the other way."""
    try:
        from scipy.stats import permutation_test  # an extra, and slow to import
    except ImportError as error:
        raise ImportError(INSTALL) from error
    differences = [2 * value - 1 for value in means if value != 0.5]
    if len(differences) < 2:
        return 1.0  # the only one may have come out either way
    test = permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        rng=0,
    )
    return float(test.pvalue)


def agreement(units: Iterable[Sequence[float]]) -> float | None:
    """
    Returns Krippendorff's alpha for nominal values
    ([Krippendorff, 2011](https://repository.upenn.edu/asc_papers/43)): 1 if raters agree always, 0 if as by chance.

    Args:
        units (`Iterable[list[float]]`):
            For each thing that was rated, the values that raters gave it. Those with fewer than two do not count.

    Returns:
        `float` or `None`: Alpha, or `None` if nothing was rated twice, or all values are the same.
    """
    together: dict[tuple[Any, Any], float] = defaultdict(
        float
    )  # how often two raters gave these two values, with the weight of each unit
    for values in units:
        counts = Counter(values)
        for first, n_first in counts.items():
            for second, n_second in counts.items():
                if len(values) > 1:
                    together[first, second] += n_first * (n_second - (first == second)) / (len(values) - 1)
    totals: dict[Any, float] = defaultdict(float)
    for (first, _), weight in together.items():
        totals[first] += weight
    total = sum(totals.values())
    observed = sum(weight for (first, second), weight in together.items() if first != second)
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b)
    return None if not expected else 1 - (total - 1) * observed / expected
