# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Keys and values of many rows with one prefix. It is held once, and each row holds only what follows it."""

import math
from functools import partial

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


# On a CPU, the buffers grow by an eighth, to a multiple of this, and rows that are decoded attend to whole buffers: a
# batched product in bf16 would copy a part of each row.
GROWTH = 32


class SharedPrefixCache(Cache):
    """
    Cache of a batch whose rows all begin with the same tokens.

    Positions within a row are counted from the end of the prefix. The active rows are always the first ones, without
    gaps, so that a step reads and writes views. Before every forward pass, `begin_prefill` or `begin_decode` sets its
    rows and positions.

    Args:
        num_rows (`int`):
            Maximum number of rows held at a time.
        capacity (`int`):
            Maximum number of tokens that a row holds after the prefix. On a CPU the buffers grow up to it. Elsewhere
            they have this size from the beginning.
        prefix (`list[tuple[torch.Tensor, torch.Tensor]]`, *optional*):
            Keys and values of the prefix in every layer, each of shape `(num_kv_heads, prefix_length, head_dim)`.

    Attributes:
        query_positions (`torch.Tensor` of shape `(rows or 1, query_length)`):
            Positions of the tokens that the current forward pass feeds.
        lowest, highest (`int`):
            Smallest and largest of them.
        length (`int`):
            Number of tokens that the buffers hold of a row.
        seen (`int`):
            Number of own tokens that the current forward pass attends to, before masks.
        layer_idx (`int`):
            Index of the layer that was updated last, which attends next. Models that run through their layers several
            times have more cache layers than attention modules.
    """

    def __init__(
        self,
        num_rows: int,
        capacity: int,
        prefix: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ):
        super().__init__(layer_class_to_replicate=partial(SharedPrefixLayer, self))  # type: ignore[arg-type]
        self.num_rows = num_rows
        self.capacity = capacity
        self.prefix = prefix or []
        self.prefix_length = self.prefix[0][0].shape[1] if self.prefix else 0
        self.query_positions = torch.zeros(1, 1, dtype=torch.long)
        self.lowest = self.highest = self.length = self.seen = 0
        self.layer_idx = 0
        self.rows = slice(0, 0)
        self._decoding = False
        self._masks: dict[int | None, tuple[int, torch.Tensor | None, torch.Tensor | None]] = {}

    def begin_prefill(self, rows: slice, start: int, length: int, device: torch.device) -> None:
        """
        Prepares a forward pass that feeds the same positions of some rows.

        Args:
            rows (`slice`):
                Rows to write.
            start (`int`):
                Position of the first token fed.
            length (`int`):
                Number of tokens fed per row.
            device (`torch.device`):
                Where the model's inputs are.
        """
        self.rows, self._decoding = rows, False
        self.query_positions = torch.arange(start, start + length, device=device)[None]
        self._begin(start, start + length - 1, device)

    def begin_decode(self, lengths: torch.Tensor, device: torch.device) -> None:
        """
        Prepares a forward pass that feeds one token of every active row.

        Args:
            lengths (`torch.Tensor` of shape `(rows,)`, on the CPU):
                Number of tokens that each row holds, which is the position of the token that is fed.
            device (`torch.device`):
                Where the model's inputs are.
        """
        self.rows, self._decoding = slice(0, len(lengths)), True
        self.query_positions = lengths.to(device)[:, None]
        self._begin(int(lengths.min()), int(lengths.max()), device)

    def _begin(self, lowest: int, highest: int, device: torch.device) -> None:
        self.lowest, self.highest, self.seen = lowest, highest, highest + 1
        if device.type != "cpu":
            self.length = self.capacity
        else:
            if self.length < self.seen:
                self.length = min(math.ceil(self.seen * 1.125 / GROWTH) * GROWTH, self.capacity)
            # Not the whole buffers, if a row that has left was far longer than the others
            if self._decoding and self.length < 2 * self.seen:
                self.seen = self.length
        self._masks.clear()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes what the current forward pass feeds to a layer, and returns all that its rows hold there."""
        self.layer_idx = layer_idx
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def write(self, states: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        """
        Writes the keys or values of the current forward pass.

        Args:
            states (`torch.Tensor` of shape `(rows, num_kv_heads, query_length, head_dim)`):
                New keys or values.
            buffer (`torch.Tensor` of shape `(num_rows, num_kv_heads, length, head_dim)`):
                Where a layer holds them.

        Returns:
            `torch.Tensor` of shape `(rows, num_kv_heads, seen, head_dim)`: all that the rows hold.
        """
        if self._decoding:
            rows = torch.arange(len(states), device=states.device)
            buffer[rows, :, self.query_positions[:, 0].to(states.device)] = states[:, :, 0].to(buffer.dtype)
        else:
            buffer[self.rows, :, self.lowest : self.highest + 1] = states
        return buffer[self.rows, :, : self.seen]

    def masks(self, window: int | None) -> tuple[int, torch.Tensor | None, torch.Tensor | None]:
        """
        Returns what the tokens of the current forward pass must not see. Layers with the same window share the masks.

        Args:
            window (`int`, *optional*):
                Number of tokens that a token sees, itself included.

        Returns:
            `tuple`: the first position of the prefix that any token sees; the masks of the prefix from there on, of
            shape `(rows or 1, query_length, prefix_length - first)`, and of the rows' own tokens, of shape `(rows or
            1, query_length, seen)`, true where hidden. A mask is None where everything is seen.
        """
        if window not in self._masks:
            self._masks[window] = self._make_masks(window)
        return self._masks[window]

    def _make_masks(self, window: int | None) -> tuple[int, torch.Tensor | None, torch.Tensor | None]:
        queries = self.query_positions[..., None]
        own = torch.arange(self.seen, device=queries.device)
        own_hidden = own > queries if self.lowest + 1 < self.seen else None
        if window is None or self.prefix_length + self.highest < window:
            return 0, None, own_hidden
        own_out = own <= queries - window
        own_hidden = own_out if own_hidden is None else own_hidden | own_out
        first = min(max(self.prefix_length + self.lowest - window + 1, 0), self.prefix_length)
        prefix = torch.arange(first - self.prefix_length, 0, device=queries.device)
        return first, prefix <= queries - window, own_hidden

    def copy_rows(self, sources: torch.Tensor, targets: torch.Tensor, length: int) -> None:
        """
        Copies whole rows.

        Args:
            sources, targets (`torch.Tensor` of shape `(num_copies,)`):
                Indices of the rows. A row may be both a source and a target.
            length (`int`):
                Number of positions that are in use.
        """
        for buffers in self._buffers():
            for buffer in buffers:
                buffer[targets, :, :length] = buffer[sources, :, :length]

    def take_row(self, row: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns a copy of the keys and values of a row, with `length` positions in use."""
        return [(keys[row, :, :length].clone(), values[row, :, :length].clone()) for keys, values in self._buffers()]

    def put_row(self, row: int, states: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Writes what `take_row` returned to a row."""
        for buffers, copies in zip(self._buffers(), states, strict=True):
            for buffer, copy in zip(buffers, copies, strict=True):
                buffer[row, :, : copy.shape[1]] = copy

    def as_prefix(self, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns the keys and values of the first row's first tokens, as the prefix of another cache."""
        return [(keys[0, :, :length], values[0, :, :length]) for keys, values in self._buffers()]

    @property
    def bytes_per_token(self) -> int:
        """Returns the memory that one token of one row takes in all layers."""
        buffers = [buffer for pair in self._buffers() for buffer in pair]
        return sum(buffer.element_size() * buffer.shape[1] * buffer.shape[3] for buffer in buffers)

    def _buffers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(layer.keys, layer.values) for layer in self.layers]  # type: ignore[union-attr,misc]


class SharedPrefixLayer(CacheLayerMixin):
    """
    One layer of a [`SharedPrefixCache`].

    Attributes:
        keys, values (`torch.Tensor` of shape `(num_rows, num_kv_heads, length, head_dim)`):
            Keys and values after the prefix in each row, in the type that attention computes in. Allocated at the
            first use, when shape and type are known.
    """

    is_sliding = False

    def __init__(self, cache: SharedPrefixCache):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = self._buffer(key_states), self._buffer(value_states)
        self.is_initialized = True

    def _buffer(self, states: torch.Tensor, old: torch.Tensor | None = None) -> torch.Tensor:
        """Returns a buffer for states like these, with what an old one holds."""
        if old is not None and old.shape[2] == self.cache.length:
            return old
        device = states.device.type
        # Rotated keys are in the type of the cosines, float32, and autocast would convert them in every step
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        shape = (self.cache.num_rows, states.shape[1], self.cache.length, states.shape[3])
        # Zeros: positions past the end of a row are weighted with zero, and zero times NaN would be NaN
        buffer = states.new_zeros(shape, dtype=dtype)
        if old is not None:
            buffer[:, :, : old.shape[2]] = old
        return buffer

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new states and returns all that the rows of this forward pass hold after the prefix."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, self.values = self._buffer(key_states, self.keys), self._buffer(value_states, self.values)
        return self.cache.write(key_states, self.keys), self.cache.write(value_states, self.values)

    def get_seq_length(self) -> int:
        return self.cache.prefix_length + self.cache.lowest

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.prefix_length + self.cache.seen, 0

    def get_max_length(self) -> int:
        return self.cache.prefix_length + self.cache.capacity
