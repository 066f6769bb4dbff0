# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import math
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.utils import is_torch_xla_available
from trl import SFTConfig

from .config_checks import check_settings, ignored_settings
from .finish_reason import FinishReason
from .user_input import OTHER_SETTINGS, OTHER_VALUES, explain_unknown


# A run may be resumed with other values of these fields. They do not affect weights or samples, apart from the engine:
# at a temperature, another one draws other samples. All other fields are compared, including those that a newer TRL or
# transformers adds.
MAY_CHANGE = frozenset(
    name
    for group in (
        # How long the run is, and which model it ends with
        "num_iterations patience load_best_model_at_end",
        # Where the run is stored, and how it is started and resumed
        "output_dir overwrite_output_dir resume_from_checkpoint restore_callback_states_from_checkpoint "
        "do_train do_eval do_predict",
        # What is saved and pushed. The token must not be written to the file that holds the compared fields.
        "save_strategy save_steps save_total_limit save_only_model save_on_each_node enable_jit_checkpoint "
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision",
        # What is logged and reported
        "html_report log_completions num_completions_to_print log_unique_prompts gradient_view_samples "
        "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_on_each_node log_level "
        "log_level_replica include_num_input_tokens_seen disable_tqdm report_to run_name project trackio_space_id "
        "trackio_bucket_id trackio_static_space_id debug skip_memory_metrics",
        # Fields of an evaluation by the loss, which never runs
        "eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size eval_accumulation_steps "
        "eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics prediction_loss_only "
        "bf16_full_eval fp16_full_eval eval_packing",
        # How the model and the data are loaded. The loaded model and data are compared themselves.
        "trust_remote_code chat_template_path dataset_text_field dataset_num_proc dataloader_num_workers "
        "dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context",
        # How the work is split. The resulting number of sequences per optimizer step is compared instead.
        "per_device_train_batch_size gradient_accumulation_steps use_cpu local_rank ddp_backend ddp_timeout "
        "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph fsdp fsdp_config "
        "deepspeed parallelism_config",
        # Settings that trade time for memory
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing "
        "gradient_checkpointing_kwargs activation_offloading torch_empty_cache_steps",
        # The engine
        "generation_batch_size use_transformers_continuous_batching use_vllm vllm_mode vllm_model_impl "
        "vllm_enable_sleep_mode vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout "
        "vllm_group_port vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size",
        # What happens when a reward function fails
        "reward_timeout reward_retries",
    )
    for name in group.split()
)

# Values of `sample_weighting` that weigh every token by itself
TOKEN_WEIGHTINGS = ("teacher", "teacher_advantage", "clipped_ratio", "policy_shaping")

# Names in `generation_kwargs` by the fields that mean the same
SAME_IN_GENERATION = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "max_new_tokens": "max_completion_length",
    "stop_strings": "stop_strings",
}
# Values in `generation_kwargs` that say what every engine does
ALWAYS_IN_GENERATION = {
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "use_cache": (True, None),
}


def has_bf16_products() -> bool:
    """Returns whether the processor multiplies matrices in bf16 by itself, which is faster than in fp32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@explain_unknown(OTHER_SETTINGS, OTHER_VALUES)
@dataclass
class STaRConfig(SFTConfig):
    r"""
    Configuration class for the [`STaRTrainer`].

    This class includes only the parameters that are specific to STaR. For a full list of training arguments, please
    refer to the [`~trl.SFTConfig`] and [`~transformers.TrainingArguments`] documentation. "The paper" below is
    [STaR](https://huggingface.co/papers/2203.14465).

    Optimizer, learning rate, schedule, `max_steps`, `num_train_epochs` and `logging_steps` belong to the inner loop,
    which starts afresh in every outer iteration. Evaluation, `save_strategy`, `save_total_limit`,
    `load_best_model_at_end` and `metric_for_best_model` belong to the outer loop: the model is evaluated after every
    outer iteration whenever there is an `eval_dataset`, and saved after it unless `save_strategy="no"`. `save_steps`
    counts steps of the inner loop: it sets how often a checkpoint is written from which an interrupted inner loop is
    resumed.

    Parameters:
        > Parameters that control the outer loop

        num_iterations (`int`, *optional*, defaults to `5`):
            Number of outer iterations: sample, filter, fine-tune. Not GRPO's `num_iterations` (μ, the number of
            updates per batch).
        num_problems_per_iteration (`int`, *optional*):
            Number of problems drawn at random, without replacement, for each outer iteration. All by default. The
            paper draws 10,000 of 50,000 in its arithmetic experiment (section 4.3). Of an `IterableDataset`, which
            needs it, each iteration takes the next ones.
        num_kept_per_iteration (`int`, *optional*):
            Number of kept samples, of all samplers together, with which an outer iteration stops sampling. Problems
            are sampled in rounds, each with as many as should suffice by the yield so far, until there are enough or
            no problem is left. All problems of the iteration are sampled by default. This is the dynamic sampling of
            [DAPO](https://huggingface.co/papers/2503.14476). A round of `rationale` that fails is rationalized before
            the next one.
        problem_order (`str`, *optional*, defaults to `"random"`):
            Which problems come first where `num_problems_per_iteration` or `num_kept_per_iteration` leaves some out.
            `"random"` draws them. `"adaptive"` is [AdaSTaR](https://huggingface.co/papers/2505.16322): problems that
            were not sampled for longest come first, and of these the ones with the lowest share of kept samples. Only
            the first round(m α²) of the m problems of an iteration count as sampled, where α is the share of them that
            was solved.
        adaptive_temperatures (`list[float]`, *optional*):
            Temperatures of which each outer iteration takes the one that suits its model best, for the first sampler,
            in place of `temperature` and of the sampler's own. Before an iteration, the first sampler solves some
            training problems, the probe problems, at each of these temperatures. The one with the greatest query
            effect is taken: the mean over the problems of min(n'/n*, 1) n'/n, where n is the number of samples of a
            problem that would be selected, n' that of the right ones among them, and n* `num_wanted_per_problem`.
            This is [B-STaR](https://huggingface.co/papers/2412.17256).
        adaptive_thresholds (`list[float]`, *optional*):
            Rewards of which each outer iteration takes one as its threshold, by the same measure. Samples are then
            selected by their reward, the weighted sum of all reward functions, **right or wrong**. What is right is
            decided by `reward_threshold`, as otherwise, and `num_kept_per_iteration` counts the right ones.
        num_probe_problems (`int`, *optional*, defaults to `200`):
            Number of probe problems, drawn once, at random. Only used with one of the two settings before.
        num_wanted_per_problem (`int`, *optional*, defaults to `8`):
            Number of right samples of a problem that suffice: n* of the query effect (that of B-STaR's code).
        sample_iterations (`int`, *optional*, defaults to `1`):
            Number of most recent outer iterations whose samples are trained on. With `1`, as in the paper, these are
            the samples of the current iteration only.
        patience (`int`, *optional*):
            Number of outer iterations without an improvement of the metric after which the run stops. The metric is
            `metric_for_best_model`. Without an `eval_dataset` it is `<sampler>/solved`, the share of training problems
            that the first sampler solved. This measures the model that sampled, which is that of the previous
            iteration, so the last model is never measured.
        overwrite_output_dir (`bool`, *optional*, defaults to `False`):
            Whether `train()` may delete the run that it finds in `output_dir`. Otherwise it raises.
        html_report (`bool`, *optional*, defaults to `True`):
            Whether to write `report.html`, with the figures and the samples, to `output_dir` after every outer
            iteration.

        > Parameters that control the inner loop

        reset_model (`bool`, *optional*, defaults to `True`):
            Whether every outer iteration fine-tunes the original model (the paper, section 3.1) instead of the
            model of the iteration before.
        initial_steps (`int`, *optional*, defaults to `40`):
            Number of optimizer steps in the first outer iteration (the paper's). `None`: `max_steps` or
            `num_train_epochs` apply to every outer iteration.
        step_growth (`float`, *optional*, defaults to `1.2`):
            Factor by which the number of steps grows with each outer iteration (the paper's, section 4.1).
        step_increment (`int`, *optional*):
            Number of steps added with each outer iteration, instead of a factor. Needs `step_growth=1`. The paper's
            arithmetic experiment starts with 300 and adds 20.
        max_inner_steps (`int`, *optional*):
            Maximum number of steps in one outer iteration. For GSM8K, the paper caps them at 7,912 from iteration 30
            on.
        few_shot_train (`bool`, *optional*, defaults to `True`):
            Whether the few-shot examples precede the prompt in the training sequences, as in the paper's main
            results. Has no effect without `few_shot_examples`.
        shared_prefix_train (`bool`, *optional*, defaults to `True`):
            Whether tokens that several training sequences of a batch begin with, such as the few-shot examples, are
            computed once instead of once per sequence. Loss and gradients are the same but for rounding; dropout is
            drawn once for a shared token. It needs `attn_implementation` `"sdpa"` (the default of most models) or
            `"eager"`. Models that it does not work for are trained on separate sequences, as with `False`. So are
            runs with `label_smoothing_factor`, `neftune_noise_alpha` or the load balancing of experts.

        > Parameters that control generation

        max_completion_length (`int`, *optional*, defaults to `512`):
            Maximum number of tokens in a completion. A completion that is cut there is recorded but not kept, unless
            `mask_truncated_completions=False`.
        num_generations (`int`, *optional*, defaults to `1`):
            Number of completions per problem. More than one needs a temperature.
        temperature (`float`, *optional*, defaults to `0.0`):
            Sampling temperature; `0.0` is greedy decoding, as in the paper.
        top_p (`float`, *optional*, defaults to `1.0`):
            Cumulative probability of the most likely tokens to keep.
        top_k (`int`, *optional*, defaults to `0`):
            Number of most likely tokens to keep; `0` keeps all.
        min_p (`float`, *optional*):
            Minimum probability of the tokens to keep, relative to that of the most likely token.
        generation_kwargs (`dict[str, Any]`, *optional*):
            Further fields of [`~transformers.GenerationConfig`]. Those that are parameters here as well, such as
            `top_k`, replace them, as in [`~trl.GRPOConfig`].
        stop_strings (`list[str]`, *optional*):
            Texts that end a completion. With few-shot text prompts `["\n\n"]` ends it where the next example would
            begin.
        generation_batch_size (`int`, *optional*):
            Number of completions that are generated together on each process. The engine chooses by default.
        few_shot_iterations (`int`, *optional*):
            Last outer iteration that samples with the few-shot examples. All do by default. The model of an iteration
            is evaluated with the prompts of that iteration, but samples with those of the next. The model of iteration
            `few_shot_iterations` is therefore evaluated with the examples and samples without them.
        max_tool_calling_iterations (`int`, *optional*):
            Maximum number of turns of a completion in which the trainer's `tools` and environments are called. No
            limit by default.
        chat_template_kwargs (`dict[str, Any]`, *optional*):
            Keyword arguments for `apply_chat_template`, for example `{"enable_thinking": False}`.

        use_transformers_continuous_batching (`bool`, *optional*, defaults to `False`):
            Whether to generate with transformers' continuous batching instead of the prefix-sharing engine.
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether to generate with vLLM. Requires `vllm`. The last bits of its probabilities depend on the batch.
        vllm_mode (`str`, *optional*, defaults to `"colocate"`):
            `"colocate"` (vLLM shares the training GPUs) or `"server"` (a server started with `vllm serve`).
        vllm_model_impl (`str`, *optional*, defaults to `"vllm"`):
            Model implementation of vLLM: `"vllm"` or `"transformers"`.
        vllm_enable_sleep_mode (`bool`, *optional*, defaults to `False`):
            Whether vLLM gives its memory back while the model is fine-tuned.
        vllm_structured_outputs_regex (`str`, *optional*):
            Regular expression that completions must match.
        vllm_server_base_url (`str`, *optional*):
            Address of the server; replaces host and port.
        vllm_server_host (`str`, *optional*, defaults to `"0.0.0.0"`):
            Host of the server.
        vllm_server_port (`int`, *optional*, defaults to `8000`):
            Port of the server.
        vllm_server_timeout (`float`, *optional*, defaults to `240.0`):
            Seconds to wait for the server to be up.
        vllm_group_port (`int`, *optional*, defaults to `51216`):
            Port over which the weights are sent to the server.
        vllm_gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the GPU memory that a colocated vLLM takes.
        vllm_max_model_length (`int`, *optional*):
            Context length of vLLM, for prompt and completion. The model's by default.
        vllm_tensor_parallel_size (`int`, *optional*, defaults to `1`):
            Number of GPUs that a colocated vLLM splits the model over.

        > Parameters that control which samples are trained on

        reward_threshold (`float` or `list[float | None]`, *optional*):
            Reward from which a sample is kept. With one reward function it defaults to `1.0`. With several, a number
            (or a list of one number) is the threshold of their sum, weighted by `reward_weights`. A list of several
            has one value for each; `None` (`nan`
            on the command line) means that the function does not decide.
        reward_weights (`list[float]`, *optional*):
            Weight of each reward function in the sample's reward. All `1.0` by default.
        mask_truncated_completions (`bool`, *optional*, defaults to `True`):
            Whether a completion that was cut by `max_completion_length` is dropped whatever its reward. `False` keeps
            it if the reward functions accept it, and trains the model on a text without an end. [`~trl.GRPOConfig`]
            has the same setting, with the default `False`.
        reward_timeout (`float`, *optional*):
            Time limit in seconds for one call of a reward function, which scores up to 64 completions. With a limit,
            reward functions run in a thread. No limit by default.
        reward_retries (`int`, *optional*, defaults to `2`):
            How often a reward function that raises or takes too long is called again, after 1, 2, 4, ... seconds. It
            is not called again if it raises an error of its code or data, such as `KeyError` or `TypeError`.
            After that it is called for each completion separately. Completions for which it still fails are recorded
            as failed. The run stops only if it fails for 8 in a row, or for all of a smaller group.
        max_samples_per_problem (`int`, *optional*):
            Maximum number of samples per problem to train on. All by default. Not allowed where every draw counts:
            with `distillation`, `loss_normalization="problems"` and most values of `sample_weighting`.
        sample_preference (`str`, *optional*, defaults to `"first"`):
            Which samples of a problem to select where there are more than `max_samples_per_problem`: the `"first"`
            (in the order of the samplers), `"shortest"` or `"most_likely"` ones, or some at `"random"`.

        > Parameters that control the loss

        sample_weighting (`str`, *optional*, defaults to `"uniform"`):
            Weight of a sample in the loss: `"uniform"` (the paper), `"reward"`, `"importance"` or `"advantage"`. The
            importance weight is M(r, y | x) / q(r, y | x, y*) under the model that sampled, the correction that
            rationalized samples lack. The advantage is the reward minus the mean of the problem's other samples;
            failed samples are trained on as well. Four more values weigh every token by itself:

            - `"teacher"`: by log M(y_t | x, hint, y_<t) - log M(y_t | x, y_<t), on the model's own samples, right or
              wrong. The model with the `hinted_prompt` is the teacher of the model without it.
            - `"teacher_advantage"`: the advantage of the sample, and how much the teacher makes of each token of it.
            - `"clipped_ratio"`: RAFT++, the ratio of the token's probability to that with which it was drawn, up to
              1 + `epsilon`.
            - `"policy_shaping"`: LUFFY's p / (p + 0.1) for rationalized samples.

            With `"uniform"` and `"reward"`, duplicates are removed, unless `loss_normalization="problems"`. With the
            others a completion counts as often as it was drawn.
        loss_normalization (`str`, *optional*, defaults to `"tokens"`):
            What the summed loss is divided by. `"tokens"`: the number of tokens that are trained on, as in SFT and the
            paper. `"problems"`: the number of problems that were sampled, failed ones included. The gradient is then
            that of J, the expected number of solved problems, divided by the number of problems. A completion then
            counts as often as it was drawn.
        importance_sampling_cap (`float`, *optional*, defaults to `3.0`):
            Upper limit of the importance weights. `None`: no limit.
        importance_sampling_self_normalize (`bool`, *optional*, defaults to `False`):
            Whether importance weights are divided by their mean.
        epsilon (`float`, *optional*, defaults to `0.2`):
            How far the ratio of `sample_weighting="clipped_ratio"` may rise above 1, and how far the weights of
            `"teacher_advantage"` may lie from 1.
        distillation (`str`, *optional*):
            Loss in place of the negative log-likelihood: the divergence of the model's next-token distributions with
            and without the hint in its prompt, at every token of its own samples, right or wrong. `"forward_kl"`,
            `"reverse_kl"` or `"jensen_shannon"`. Only the model without the hint is trained. The other one, the
            teacher, is computed in every step.
        teacher_model (`str`, *optional*, defaults to `"original"`):
            Model that is the teacher, in `distillation` and in the weightings with a teacher: the `"original"` one, or
            the `"current"` one, which is the model that sampled, and in `distillation` the model that is being
            trained.
        teacher_clip (`float`, *optional*):
            Largest absolute weight of a token with `sample_weighting="teacher"`, and largest divergence of a token
            with `distillation`, beyond which it has no gradient. No limit by default.
        wrong_hint_column (`str`, *optional*):
            Column of the problems that holds the prompt with a wrong hint. The weightings with a teacher then compare
            the right hint with the wrong one, in place of no hint.

        gradient_view_samples (`int`, *optional*, defaults to `0`):
            Number of samples per sampler from which the metrics of the policy-gradient view are estimated in every
            iteration. They are logged under `policy_gradient/`: J on- and off-policy, importance weights, the share of
            the gradient that comes from each sampler, and the KL divergence from the original model. `0`: none.

        > Parameters that control logging

        log_completions (`bool`, *optional*, defaults to `False`):
            Whether to log the samples of every outer iteration: some are printed, and all go to a table of `wandb`
            and `trackio` where `report_to` names them. The ledger records them in any case.
        num_completions_to_print (`int`, *optional*, defaults to `4`):
            Number of completions to print. `None`: all, which is at least one per problem.
        log_unique_prompts (`bool`, *optional*, defaults to `False`):
            Whether the table has each prompt once, with its first completion.

        > Parameters that control evaluation

        eval_group_column (`str`, *optional*):
            Column of the evaluation dataset; `eval_accuracy/<value>` is reported for each of its values. If there is a
            column `pair` as well, the report and the model card compare the groups over the pairs.

    > [!NOTE]
    > These parameters have default values different from [`~trl.SFTConfig`]:
    > - `max_length`: Defaults to `None`. Training sequences are never cut, so a limit would only refuse them.
    > - `metric_for_best_model`: Defaults to `"accuracy"`.
    > - `save_strategy`: Defaults to `"epoch"`, which is every outer iteration.
    """

    _VALID_DICT_FIELDS = SFTConfig._VALID_DICT_FIELDS + ["generation_kwargs", "chat_template_kwargs"]

    # Parameters whose default values are overridden from SFTConfig
    metric_for_best_model: str | None = field(
        default="accuracy",
        metadata={"help": "Evaluation metric that decides which outer iteration is the best."},
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Maximum number of tokens of a training sequence. A longer one is refused. No limit by default."
        },
    )
    save_strategy: SaveStrategy | str = field(
        default="epoch",
        metadata={"help": "Which outer iterations' models are saved: `epoch` (every one), `best` or `no`."},
    )

    # Parameters that control the outer loop
    num_iterations: int = field(
        default=5,
        metadata={"help": "Number of outer iterations: sample, filter, fine-tune. Not GRPO's `num_iterations`."},
    )
    num_problems_per_iteration: int | None = field(
        default=None,
        metadata={"help": "Number of problems drawn at random for each outer iteration. All by default."},
    )
    num_kept_per_iteration: int | None = field(
        default=None,
        metadata={"help": "Number of kept samples with which an outer iteration stops sampling."},
    )
    problem_order: str = field(
        default="random",
        metadata={
            "help": "Which problems come first if some are left out: `random` or `adaptive` (AdaSTaR).",
            "choices": ["random", "adaptive"],
        },
    )
    adaptive_temperatures: list[float] | None = field(
        default=None,
        metadata={"help": "Temperatures of which each outer iteration takes the one that suits its model (B-STaR)."},
    )
    adaptive_thresholds: list[float] | None = field(
        default=None,
        metadata={"help": "Rewards of which each outer iteration takes one as its threshold (B-STaR)."},
    )
    num_probe_problems: int = field(
        default=200,
        metadata={"help": "Number of problems on which the temperature and the threshold are chosen."},
    )
    num_wanted_per_problem: int = field(
        default=8,
        metadata={"help": "Number of right samples of a problem that suffice, for the query effect of B-STaR."},
    )
    sample_iterations: int = field(
        default=1,
        metadata={"help": "Number of most recent outer iterations whose samples are trained on."},
    )
    patience: int | None = field(
        default=None,
        metadata={
            "help": "Number of outer iterations without an improvement of the metric after which the run stops."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Whether `train()` may delete the run that it finds in `output_dir`."},
    )
    html_report: bool = field(
        default=True,
        metadata={"help": "Whether to write `report.html` to `output_dir` after every outer iteration."},
    )

    # Parameters that control the inner loop
    reset_model: bool = field(
        default=True,
        metadata={"help": "Whether every outer iteration fine-tunes the original model (as in the paper)."},
    )
    initial_steps: int | None = field(
        default=40,
        metadata={
            "help": "Number of optimizer steps in the first outer iteration. `None`: `max_steps` or "
            "`num_train_epochs` apply to every outer iteration."
        },
    )
    step_growth: float = field(
        default=1.2,
        metadata={"help": "Factor by which the number of steps grows with each outer iteration."},
    )
    step_increment: int | None = field(
        default=None,
        metadata={
            "help": "Number of steps added with each outer iteration, instead of a factor. Needs `step_growth=1`."
        },
    )
    max_inner_steps: int | None = field(
        default=None,
        metadata={"help": "Maximum number of steps in one outer iteration."},
    )
    few_shot_train: bool = field(
        default=True,
        metadata={"help": "Whether the few-shot examples precede the prompt in the training sequences."},
    )
    shared_prefix_train: bool = field(
        default=True,
        metadata={"help": "Whether tokens that sequences of a training batch begin with are computed once."},
    )

    # Parameters that control generation
    max_completion_length: int = field(
        default=512,
        metadata={
            "help": "Maximum number of tokens in a completion. One that is cut there is recorded and not kept, unless "
            "`mask_truncated_completions=False`."
        },
    )
    num_generations: int = field(
        default=1,
        metadata={"help": "Number of completions per problem. More than one needs a temperature."},
    )
    temperature: float = field(
        default=0.0,
        metadata={"help": "Sampling temperature; 0.0 is greedy decoding."},
    )
    top_p: float = field(
        default=1.0,
        metadata={"help": "Cumulative probability of the most likely tokens to keep."},
    )
    top_k: int = field(
        default=0,
        metadata={"help": "Number of most likely tokens to keep; 0 keeps all."},
    )
    min_p: float | None = field(
        default=None,
        metadata={"help": "Minimum probability of the tokens to keep, relative to that of the most likely token."},
    )
    generation_kwargs: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Further fields of `GenerationConfig`."},
    )
    stop_strings: list[str] | None = field(
        default=None,
        metadata={"help": "Texts that end a completion."},
    )
    generation_batch_size: int | None = field(
        default=None,
        metadata={"help": "Number of completions generated together on each process. The engine chooses by default."},
    )
    few_shot_iterations: int | None = field(
        default=None,
        metadata={"help": "Last outer iteration that samples with the few-shot examples. All do by default."},
    )
    max_tool_calling_iterations: int | None = field(
        default=None,
        metadata={"help": "Maximum number of turns of a completion in which tools are called. No limit by default."},
    )
    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Keyword arguments for `apply_chat_template`."},
    )

    # Parameters that control other engines, with the names that they have in GRPOConfig
    use_transformers_continuous_batching: bool = field(
        default=False,
        metadata={"help": "Whether to generate with transformers' continuous batching."},
    )
    use_vllm: bool = field(
        default=False,
        metadata={"help": "Whether to generate with vLLM. Requires `vllm`."},
    )
    vllm_mode: str = field(
        default="colocate",
        metadata={"help": "Mode of vLLM: on the training GPUs or on a server.", "choices": ["colocate", "server"]},
    )
    vllm_model_impl: str = field(
        default="vllm",
        metadata={"help": "Model implementation of vLLM.", "choices": ["vllm", "transformers"]},
    )
    vllm_enable_sleep_mode: bool = field(
        default=False,
        metadata={"help": "Whether vLLM gives its memory back while the model is fine-tuned."},
    )
    vllm_structured_outputs_regex: str | None = field(
        default=None,
        metadata={"help": "Regular expression that completions must match."},
    )
    vllm_server_base_url: str | None = field(
        default=None,
        metadata={"help": "Address of the vLLM server; it replaces host and port."},
    )
    vllm_server_host: str = field(
        default="0.0.0.0",
        metadata={"help": "Host of the vLLM server."},
    )
    vllm_server_port: int = field(
        default=8000,
        metadata={"help": "Port of the vLLM server."},
    )
    vllm_server_timeout: float = field(
        default=240.0,
        metadata={"help": "Seconds to wait for the vLLM server to be up."},
    )
    vllm_group_port: int = field(
        default=51216,
        metadata={"help": "Port over which the weights are sent to the vLLM server."},
    )
    vllm_gpu_memory_utilization: float = field(
        default=0.3,
        metadata={"help": "Share of the GPU memory that a colocated vLLM takes."},
    )
    vllm_max_model_length: int | None = field(
        default=None,
        metadata={"help": "Context length of vLLM, for prompt and completion. The model's by default."},
    )
    vllm_tensor_parallel_size: int = field(
        default=1,
        metadata={"help": "Number of GPUs that a colocated vLLM splits the model over."},
    )

    # Parameters that control which samples are trained on
    # The type is for the command line's parser, which knows one per field. A float, or None in the list, is accepted.
    reward_threshold: list[float] | None = field(
        default=None,
        metadata={
            "help": "Reward from which a sample is kept: 1.0 with one reward function. With several, one value for "
            "the weighted sum, or one each, `nan` for a function that does not decide."
        },
    )
    reward_weights: list[float] | None = field(
        default=None,
        metadata={"help": "Weight of each reward function in the sample's reward. All 1.0 by default."},
    )
    mask_truncated_completions: bool = field(
        default=True,
        metadata={
            "help": "Whether a completion that was cut by `max_completion_length` is dropped whatever its reward."
        },
    )
    reward_timeout: float | None = field(
        default=None,
        metadata={"help": "Time limit in seconds for one call of a reward function. No limit by default."},
    )
    reward_retries: int = field(
        default=2,
        metadata={"help": "How often a reward function that raises or takes too long is called again."},
    )
    max_samples_per_problem: int | None = field(
        default=None,
        metadata={"help": "Maximum number of samples per problem to train on. All by default."},
    )

    sample_preference: str = field(
        default="first",
        metadata={
            "help": "Which samples of a problem to select if there are more than `max_samples_per_problem`.",
            "choices": ["first", "shortest", "most_likely", "random"],
        },
    )

    # Parameters that control the loss
    sample_weighting: str = field(
        default="uniform",
        metadata={
            "help": "Weight of a sample, or of its tokens, in the loss.",
            "choices": ["uniform", "reward", "importance", "advantage", *TOKEN_WEIGHTINGS],
        },
    )
    loss_normalization: str = field(
        default="tokens",
        metadata={
            "help": "What the summed loss is divided by: the number of tokens that are trained on, or the number of "
            "problems that were sampled.",
            "choices": ["tokens", "problems"],
        },
    )
    importance_sampling_cap: float | None = field(
        default=3.0,
        metadata={"help": "Upper limit of the importance weights. None: no limit."},
    )
    importance_sampling_self_normalize: bool = field(
        default=False,
        metadata={"help": "Whether importance weights are divided by their mean."},
    )
    epsilon: float = field(
        default=0.2,
        metadata={
            "help": "How far the ratios of 'clipped_ratio' and the weights of 'teacher_advantage' may be from 1."
        },
    )
    distillation: str | None = field(
        default=None,
        metadata={
            "help": "Divergence of the model with the hint from the model without, as the loss.",
            "choices": ["forward_kl", "reverse_kl", "jensen_shannon"],
        },
    )
    teacher_model: str = field(
        default="original",
        metadata={"help": "Model that is the teacher, with the hint.", "choices": ["original", "current"]},
    )
    teacher_clip: float | None = field(
        default=None,
        metadata={"help": "Largest weight, or in distillation largest divergence, of a token. None: no limit."},
    )
    wrong_hint_column: str | None = field(
        default=None,
        metadata={"help": "Column with a wrong hint in the prompt, which the teacher compares the right one with."},
    )
    gradient_view_samples: int = field(
        default=0,
        metadata={
            "help": "Number of samples per sampler from which the metrics of the policy-gradient view are estimated. "
            "0: none."
        },
    )

    # Parameters that control logging
    log_completions: bool = field(
        default=False,
        metadata={"help": "Whether to print some samples of every outer iteration, and log all to wandb and trackio."},
    )
    num_completions_to_print: int | None = field(
        default=4,
        metadata={"help": "Number of completions to print. None: all."},
    )
    log_unique_prompts: bool = field(
        default=False,
        metadata={"help": "Whether the logged table has each prompt once, with its first completion."},
    )

    # Parameters that control evaluation
    eval_group_column: str | None = field(
        default=None,
        metadata={"help": "Column of the evaluation dataset. Accuracy is reported for each of its values."},
    )

    def __post_init__(self):
        self.ignored_settings = ignored_settings(self)  # before transformers fills in values of its own
        self._suit_trainer()
        super().__post_init__()
        self._merge_generation_kwargs()
        if isinstance(self.stop_strings, str):
            self.stop_strings = [self.stop_strings]
        if isinstance(self.reward_threshold, list):
            thresholds = [None if value != value else value for value in self.reward_threshold]  # true only of NaN
            self.reward_threshold = thresholds  # type: ignore[assignment]
        check_settings(self, STaRConfig)

    def _suit_trainer(self):
        """Sets values that transformers and TRL would otherwise refuse, warn of, or replace by unsuitable ones."""
        # `TrainingArguments` checks that evaluation and saving fall on the same inner steps. Here both happen after
        # every outer iteration, so the strategies are set accordingly, which passes the check.
        if self.load_best_model_at_end:
            if SaveStrategy(self.save_strategy) == SaveStrategy.NO:
                raise ValueError(
                    "`load_best_model_at_end=True` needs the checkpoints of the outer iterations, but "
                    "`save_strategy='no'`. Use `save_strategy='epoch'` (every outer iteration) or 'best'."
                )
            self.eval_strategy = IntervalStrategy.EPOCH
            if SaveStrategy(self.save_strategy) != SaveStrategy.BEST:
                self.save_strategy = SaveStrategy.EPOCH
        if not (self.use_cpu or torch.accelerator.is_available() or is_torch_xla_available()):
            if self.bf16:
                raise ValueError(
                    "`bf16=True`, but this computer has no accelerator. Leave `bf16` out to train on the CPU in full "
                    "precision, or set `use_cpu=True` to train on it in bf16."
                )
            # TRL's default would be True, which transformers refuses.
            self.bf16 = False
        elif self.use_cpu and self.bf16 is None:
            # TRL's default would be True, which is several times slower where the processor has no such products.
            self.bf16 = has_bf16_products()
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # torch would warn that it is not used
        # TRL sets its default under the old name, for which transformers warns the user.
        if self.activation_checkpointing is None:
            self.activation_checkpointing = self.gradient_checkpointing
        if self.activation_checkpointing_kwargs is None:
            self.activation_checkpointing_kwargs = self.gradient_checkpointing_kwargs

    def _merge_generation_kwargs(self):
        """Moves what `generation_kwargs` says of fields of this class into them, and drops what is so anyway."""
        given = dict(as_dict(self.generation_kwargs))
        for name in [name for name in given if name in SAME_IN_GENERATION]:
            setattr(self, SAME_IN_GENERATION[name], given.pop(name))
        for name, values in ALWAYS_IN_GENERATION.items():
            if name in given and given[name] in values:
                del given[name]
        do_sample = given.pop("do_sample", None)
        if do_sample is not None and do_sample != (self.temperature > 0):
            raise ValueError(
                f"`generation_kwargs={{'do_sample': {do_sample}}}` contradicts `temperature={self.temperature}`: 0.0 "
                "is greedy, and anything above it samples. Set the `temperature` that you want, and leave `do_sample` "
                "out."
            )
        if isinstance(self.generation_kwargs, dict):
            self.generation_kwargs = given or None

    @property
    def weighted(self) -> bool:
        """Whether the loss differs from SFT's."""
        return self.sample_weighting != "uniform" or self.loss_normalization != "tokens" or self.has_teacher

    @property
    def weighs_tokens(self) -> bool:
        """Whether every token has a weight of its own."""
        return self.sample_weighting in TOKEN_WEIGHTINGS

    @property
    def has_teacher(self) -> bool:
        """Returns whether the model with the hint is the teacher of the model without."""
        return self.sample_weighting.startswith("teacher") or self.distillation is not None

    @property
    def teacher_columns(self) -> list[str]:
        """Columns of the problems that hold the prompts of a teacher."""
        wrong = [] if self.wrong_hint_column is None else [self.wrong_hint_column]
        return ["hinted_prompt", *wrong] if self.has_teacher else []

    @property
    def trains_on_failed(self) -> bool:
        """Returns whether samples that were not kept are trained on as well."""
        return self.sample_weighting == "advantage" or self.has_teacher

    @property
    def probes(self) -> bool:
        """Returns whether each outer iteration tries its settings on probe problems first."""
        return self.adaptive_temperatures is not None or self.adaptive_thresholds is not None

    @property
    def counts_draws(self) -> bool:
        """
        Whether a completion counts as often as it was drawn. An importance weight belongs to one draw from the
        proposal. The advantages of a problem add up to zero over all its draws. What a teacher says is an expectation
        over draws. A loss per problem is divided by the number of its draws. Otherwise a weight depends on the
        completion alone, and duplicates are removed, since they add nothing new to the training set.
        """
        depends_on_completion = self.sample_weighting in ("uniform", "reward") and self.distillation is None
        return not depends_on_completion or self.loss_normalization == "problems"

    @property
    def unfinished(self) -> frozenset[FinishReason]:
        """Finish reasons of completions that are dropped whatever their reward."""
        return frozenset(("length", "pause") if self.mask_truncated_completions else ("pause",))

    @property
    def needs_logprobs(self) -> bool:
        """Whether the log-probabilities of sampled tokens are needed."""
        return (
            self.sample_weighting == "importance"
            or self.sample_preference == "most_likely"
            or self.gradient_view_samples > 0
        )

    @property
    def compared_settings(self) -> dict[str, Any]:
        """Fields that weights and samples depend on. A run is resumed only if their values are the same."""
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in MAY_CHANGE}
        # A token must not be written to a file. The placement on devices changes nothing.
        kwargs = as_dict(self.model_init_kwargs)
        settings["model_init_kwargs"] = {
            name: value for name, value in kwargs.items() if name not in ("token", "device_map")
        }
        return settings

    def samples_few_shot(self, iteration: int) -> bool:
        """Whether an outer iteration samples with the few-shot examples."""
        return self.few_shot_iterations is None or iteration <= self.few_shot_iterations

    def inner_steps(self, iteration: int) -> int | None:
        """
        Number of optimizer steps in one outer iteration.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `int` or `None`:
                `floor(initial_steps * step_growth ** (iteration - 1))`, plus `step_increment` for each earlier
                iteration, at most `max_inner_steps`. `None` where `max_steps` or `num_train_epochs` decide. Section
                4.1 of the paper gives its schedule.
        """
        if self.initial_steps is None:
            return None
        # Exact arithmetic: a power of the float 1.2 may fall just below a whole number.
        steps = math.floor(self.initial_steps * Fraction(str(self.step_growth)) ** (iteration - 1))
        steps += (self.step_increment or 0) * (iteration - 1)
        return min(steps, self.max_inner_steps) if self.max_inner_steps is not None else steps


def as_dict(field_value: dict[str, Any] | str | None) -> dict[str, Any]:
    """Returns the dictionary of a field, or an empty one. `__post_init__` has parsed JSON of the command line."""
    return field_value if isinstance(field_value, dict) else {}
