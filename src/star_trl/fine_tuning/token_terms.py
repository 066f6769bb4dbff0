# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Terms of the loss that weigh every token by itself.

The loss of a sample with weight w is -w sum_t g(log M(y_t | x, y_<t)). With `sample_weighting` "uniform", "reward",
"importance" and "advantage", g is the identity. The functions here are the others. They compare a token's
log-probability in the current step with a reference that was computed before the fine-tuning: the teacher's
log-probability, or that of the sampler. A token without a reference, which the model did not draw, keeps the identity.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..star_config import STaRConfig


# gamma of LUFFY's policy shaping, the paper's and that of the authors' script (`p_div_p_0.1`)
SHAPING_GAMMA = 0.1


@dataclass(frozen=True)
class TokenTerms:
    """
    Terms of the tokens of a batch, each of shape (rows, tokens).

    Args:
        terms (`torch.Tensor`):
            What the loss sums up, before the samples' weights. Its gradient is `factors` times that of the
            log-probabilities.
        factors (`torch.Tensor`):
            Weight of each token in the gradient.
        clipped (`torch.Tensor`):
            Whether a limit changes the token's weight.
    """

    terms: torch.Tensor
    factors: torch.Tensor
    clipped: torch.Tensor


def token_terms(
    logprobs: torch.Tensor, references: torch.Tensor, weights: torch.Tensor, args: STaRConfig
) -> TokenTerms:
    """
    Computes the terms of `sample_weighting`.

    Args:
        logprobs (`torch.Tensor` of shape `(rows, tokens)`):
            Log-probabilities of the tokens under the model that is trained, with their graph.
        references (`torch.Tensor`, same shape):
            What they are compared with; NaN for tokens that have none.
        weights (`torch.Tensor`, same shape):
            Weights of the tokens' samples. `"teacher_advantage"` needs their signs.
        args ([`STaRConfig`]):
            Configuration.
    """
    known = ~references.isnan()
    # A NaN would reach the gradient through the branch that is not taken.
    references = references.nan_to_num()
    if args.sample_weighting == "clipped_ratio":
        found = clipped_ratio(logprobs - references, args.epsilon)
    elif args.sample_weighting == "policy_shaping":
        found = shaped_policy(logprobs - references)
    else:
        # Right against wrong hint: the reference is the difference already.
        gap = references if args.wrong_hint_column is not None else (references - logprobs).detach()
        if args.sample_weighting == "teacher":
            found = teacher_advantages(logprobs, gap, args.teacher_clip)
        else:
            found = evidence_weights(logprobs, gap, weights.sign(), args.epsilon)
    return TokenTerms(
        terms=torch.where(known, found.terms, logprobs),
        factors=torch.where(known, found.factors, 1.0),
        clipped=found.clipped & known,
    )


def teacher_advantages(logprobs: torch.Tensor, gap: torch.Tensor, limit: float | None) -> TokenTerms:
    """
    Weighs each token by A_t = log M(y_t | x, hint, y_<t) - log M(y_t | x, y_<t).

    On the model's own samples this is the gradient of the reverse KL divergence from the hinted to the plain
    next-token distribution, estimated from the token that was drawn: E_{y_t ~ M(. | x, y_<t)} [A_t grad log M(y_t)]
    = -grad KL(M(. | x, y_<t) || M(. | x, hint, y_<t)) with the hinted one fixed. It is the sampled-token loss of OPSD
    ([Zhao et al., 2026](https://huggingface.co/papers/2601.18734)), whose code takes the student's log-probability
    from the current forward pass, as here, and limits nothing. It is also the loss of SDPO
    ([Hübotter et al., 2026](https://huggingface.co/papers/2601.20802)) on sampled tokens.

    Args:
        logprobs (`torch.Tensor`):
            Log-probabilities of the tokens, with their graph.
        gap (`torch.Tensor`):
            A_t, without a graph.
        limit (`float`, *optional*):
            Largest absolute value of A_t.
    """
    factors = gap if limit is None else gap.clamp(-limit, limit)
    return TokenTerms(terms=factors * logprobs, factors=factors, clipped=factors != gap)


def evidence_weights(logprobs: torch.Tensor, gap: torch.Tensor, signs: torch.Tensor, epsilon: float) -> TokenTerms:
    """
    Weighs each token by clip(w_t, 1 - epsilon, 1 + epsilon) with w_t = exp(sign(A) A_t): the sample's advantage A
    sets the direction, and the teacher how much each token counts.

    These are equations 14 and 15 of RLSD ([Yang et al., 2026](https://huggingface.co/papers/2604.03128)). The paper
    divides A by the standard deviation of the group, and mixes w_t with 1 in the first steps (lambda). Neither is done
    here.

    Args:
        logprobs (`torch.Tensor`):
            Log-probabilities of the tokens, with their graph.
        gap (`torch.Tensor`):
            A_t, without a graph.
        signs (`torch.Tensor`):
            Signs of the samples' advantages.
        epsilon (`float`):
            How far a weight may lie from 1.
    """
    weights = (signs * gap).exp()
    factors = weights.clamp(1 - epsilon, 1 + epsilon)
    return TokenTerms(terms=factors * logprobs, factors=factors, clipped=factors != weights)


def clipped_ratio(log_ratio: torch.Tensor, epsilon: float) -> TokenTerms:
    """
    Computes min(s_t, clip(s_t, 1 - epsilon, 1 + epsilon)) with s_t = M(y_t | x, y_<t) / q(y_t | x, y_<t), where q is
    the distribution that the sampler drew from. The gradient is s_t grad log M(y_t), and 0 above 1 + epsilon.

    This is the loss of RAFT++ ([Xiong et al., 2025](https://huggingface.co/papers/2504.11343)), which is PPO's with an
    advantage of 1 for right samples and 0 for wrong ones. For an advantage above 0, PPO's lower limit has no effect.
    The paper takes the mean over each sample's tokens first. The authors' code averages over the tokens of the batch,
    as `loss_normalization="tokens"` does here; their script adds a KL penalty of 0.001, which is left out. The paper
    has no hints. For a rationalized sample q is the hinted model, so that s_t corrects for the hint.

    Args:
        log_ratio (`torch.Tensor`):
            log s_t, with its graph.
        epsilon (`float`):
            How far a ratio may rise above 1. 0.2 in the authors' code.
    """
    limit = math.log1p(epsilon)
    terms = log_ratio.clamp(max=limit).exp()
    clipped = log_ratio > limit
    return TokenTerms(terms=terms, factors=terms.detach().masked_fill(clipped, 0.0), clipped=clipped)


def shaped_policy(log_ratio: torch.Tensor) -> TokenTerms:
    """
    Computes f(p_t) = p_t / (p_t + gamma) with p_t = M(y_t | x, y_<t). The gradient is gamma p_t / (p_t + gamma)^2
    grad log M(y_t), which is largest where p_t = gamma.

    This is the policy shaping of LUFFY ([Yan et al., 2025](https://huggingface.co/papers/2504.14945)) for samples of
    another policy, whose own probability is taken as 1. The authors' script uses gamma = 0.1 and clips neither these
    tokens nor the on-policy ones, which the paper's equation clips. It also has an advantage per sample, an entropy
    bonus and a division by the maximum length. Here a sample that is kept has the weight 1, and on-policy samples keep
    the negative log-likelihood, whose gradient in the first step is that of the paper's ratio.

    Args:
        log_ratio (`torch.Tensor`):
            log p_t, with its graph.
    """
    terms = torch.sigmoid(log_ratio - math.log(SHAPING_GAMMA))  # p / (p + gamma)
    factors = (terms * (1 - terms)).detach()
    return TokenTerms(terms=terms, factors=factors, clipped=torch.zeros_like(factors, dtype=torch.bool))


def divergence(student_logits: torch.Tensor, teacher_logits: torch.Tensor, kind: str) -> torch.Tensor:
    """
    Computes the divergence of next-token distributions, in nats, over the whole vocabulary.

    With the teacher T and the student S, `"forward_kl"` is KL(T || S), `"reverse_kl"` is KL(S || T) and
    `"jensen_shannon"` is KL(T || M) / 2 + KL(S || M) / 2 with M = (T + S) / 2. They are the generalized Jensen-Shannon
    divergence of GKD ([Agarwal et al., 2024](https://huggingface.co/papers/2306.13649), equation 1) at beta 0, 1 and
    0.5, as in TRL's `GKDTrainer`, where the function is experimental. OPSD's script has beta 0.5, and SDPO's code has
    alpha 0.5 on the 100 most likely tokens of the student.

    Args:
        student_logits (`torch.Tensor` of shape `(tokens, vocabulary)`):
            Logits of the model that is trained.
        teacher_logits (`torch.Tensor`, same shape):
            Logits of the teacher.
        kind (`str`):
            `"forward_kl"`, `"reverse_kl"` or `"jensen_shannon"`.

    Returns:
        `torch.Tensor`: One divergence per token.
    """
    student, teacher = student_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    if kind == "forward_kl":
        return _kl(teacher, student)
    if kind == "reverse_kl":
        return _kl(student, teacher)
    mixture = torch.logaddexp(student, teacher) - math.log(2)
    return (_kl(teacher, mixture) + _kl(student, mixture)) / 2


def _kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Returns KL(first || second) of log-probabilities."""
    return F.kl_div(second, first, reduction="none", log_target=True).sum(-1)
