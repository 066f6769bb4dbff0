# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Base class of the trainers of transformers that run as the inner loop."""

from torch.utils.data import Sampler
from transformers import Trainer

from ..generation.memory import trim_heap
from .row_order import seeded


class InnerTrainer(Trainer):
    """
    Base class of the trainers that run as the inner loop, to be combined with one of TRL's. Its rows come in an order
    that a resumed inner loop repeats, and its optimizer takes memory only while it trains.
    """

    def free_optimizer(self) -> None:
        """Frees the optimizer's states, so that they take no memory during generation, and trims the heap."""
        if self.optimizer is not None:
            self.optimizer = self.lr_scheduler = None
            self.callback_handler.optimizer = self.callback_handler.lr_scheduler = None
            if not self.is_deepspeed_enabled:  # its engine is needed for generation as well
                self.accelerator.free_memory()
        trim_heap()

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        # Private in `Trainer`, which does not seed its samplers.
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return seeded(super()._get_train_sampler(train_dataset), seed)
