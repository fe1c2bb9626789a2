"""Recurrent layers (RNN, LSTM, GRU) that are one kernel, written out step by step for ``fused``.

The steps are those of PyTorch's own implementation for devices without such a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["cudnn_rnn", "miopen_rnn", "mkldnn_rnn_layer"]


class _Mode(IntEnum):
    """Kinds of cells, by the numbers that kernels give them."""

    RELU = 0
    TANH = 1
    LSTM = 2
    GRU = 3


State = tuple[Tensor, Tensor | None]
Cell = Callable[[Tensor, State], State]
"""From the input's share of the gates ``[b, G]`` and the state ``[b, H]`` to the next state."""


def mkldnn_rnn_layer(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    hx: Tensor,
    cx: Tensor,
    reverse: bool,
    batch_sizes: Sequence[int],
    mode: int,
    hidden_size: int,
    num_layers: int,
    has_biases: bool,
    bidirectional: bool,
    batch_first: bool,
    train: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``aten::mkldnn_rnn_layer``: one layer in one direction on ``[T, B, I]``, time first.

    Without biases the kernel is given the weights in their place.
    """
    biases = (b_ih, b_hh) if has_biases else (None, None)
    weights = [w_ih, w_hh, *biases]
    out, (h, c) = _direction(x, (hx, cx), weights, None, _Mode(mode), batch_sizes, reverse)
    return out, h, c


def cudnn_rnn(
    x: Tensor,
    weight: Sequence[Tensor],
    weight_stride0: int,
    weight_buf: Tensor | None,
    hx: Tensor,
    cx: Tensor | None,
    mode: int,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    batch_first: bool,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_sizes: Sequence[int],
    dropout_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``aten::_cudnn_rnn``: all layers and directions at once; dropout between them left out.

    Input is ``[T, B, I]``, with ``batch_first`` ``[B, T, I]``, packed ``[sum, I]``; states are
    ``[layers * directions, B, H]``. Of the weights each direction of each layer has
    ``weight_stride0``: ``w_ih, w_hh``, then ``b_ih, b_hh`` where there are biases, then ``w_hr``
    where the state is projected.
    """
    transposed = batch_first and not batch_sizes
    x = x.transpose(0, 1) if transposed else x
    directions = 2 if bidirectional else 1
    last: list[State] = []
    for layer in range(num_layers):
        outs = []
        for backwards in range(directions):
            i = layer * directions + backwards
            own = list(weight[i * weight_stride0 : (i + 1) * weight_stride0])
            w_hr = own.pop() if proj_size else None
            own += [None] * (4 - len(own))  # type: ignore[list-item]
            state = (hx[i], None if cx is None else cx[i])
            out, end = _direction(x, state, own, w_hr, _Mode(mode), batch_sizes, bool(backwards))
            outs.append(out)
            last.append(end)
        x = torch.cat(outs, -1) if bidirectional else outs[0]
    h = torch.stack([state[0] for state in last])
    cells = [state[1] for state in last if state[1] is not None]
    return x.transpose(0, 1) if transposed else x, h, torch.stack(cells) if cells else None


def miopen_rnn(
    x: Tensor,
    weight: Sequence[Tensor],
    weight_stride0: int,
    hx: Tensor,
    cx: Tensor | None,
    mode: int,
    hidden_size: int,
    num_layers: int,
    batch_first: bool,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_sizes: Sequence[int],
    dropout_state: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``aten::miopen_rnn``: :func:`cudnn_rnn` without projections."""
    return cudnn_rnn(
        x, weight, weight_stride0, None, hx, cx, mode, hidden_size, 0, num_layers, batch_first,
        dropout, train, bidirectional, batch_sizes, dropout_state,
    )  # fmt: skip


def _direction(
    x: Tensor,
    state: State,
    weights: Sequence[Tensor | None],
    w_hr: Tensor | None,
    mode: _Mode,
    batch_sizes: Sequence[int],
    reverse: bool,
) -> tuple[Tensor, State]:
    """One layer in one direction.

    The input's share of the gates is one product over all steps. Sequences of a packed batch are
    sorted by length, so at each step those alive are the first few.

    Args:
        x: ``[T, B, I]``, packed ``[sum, I]``.
        state: First state ``[B, H]``, and cell state.
        weights: ``w_ih, w_hh, b_ih, b_hh``.
        w_hr: Projection of the state, if any.
        mode: Kind of cell.
        batch_sizes: Of a packed sequence how many are alive at each step, else empty.
        reverse: Whether time runs backwards.

    Returns:
        Outputs as ``x``, and the state that each sequence ends in.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    assert w_ih is not None
    assert w_hh is not None
    gates = F.linear(x, w_ih, b_ih)
    steps = gates.split(list(batch_sizes)) if batch_sizes else gates.unbind(0)
    cell = _cell(mode, w_hh, b_hh, w_hr)
    first, ended, outputs = state, [], []
    if reverse:
        state = _rows(state, 0, len(steps[-1]))
    for step in reversed(steps) if reverse else steps:
        alive, now = len(step), len(state[0])
        if alive > now:  # backwards, longer sequences come first and shorter ones join
            state = _joined(state, _rows(first, now, alive))
        elif alive < now:
            ended.append(_rows(state, alive, now))
            state = _rows(state, 0, alive)
        state = cell(step, state)
        outputs.append(state[0])
    for end in reversed(ended):
        state = _joined(state, end)
    if reverse:
        outputs.reverse()
    return (torch.cat(outputs) if batch_sizes else torch.stack(outputs)), state


def _cell(mode: _Mode, w_hh: Tensor, b_hh: Tensor | None, w_hr: Tensor | None) -> Cell:
    def lstm(gates: Tensor, state: State) -> State:
        h, c = state
        assert c is not None
        i, f, g, o = (gates + F.linear(h, w_hh, b_hh)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h if w_hr is None else F.linear(h, w_hr), c

    def gru(gates: Tensor, state: State) -> State:
        h = state[0]
        input_r, input_z, input_n = gates.chunk(3, 1)
        hidden_r, hidden_z, hidden_n = F.linear(h, w_hh, b_hh).chunk(3, 1)
        r = (hidden_r + input_r).sigmoid()
        z = (hidden_z + input_z).sigmoid()
        n = (input_n + hidden_n * r).tanh()
        return (h - n) * z + n, None

    def plain(gates: Tensor, state: State) -> State:
        total = gates + F.linear(state[0], w_hh, b_hh)
        return total.relu() if mode is _Mode.RELU else total.tanh(), None

    return {_Mode.LSTM: lstm, _Mode.GRU: gru}.get(mode, plain)


def _rows(state: State, start: int, end: int) -> State:
    h, c = state
    return h[start:end], None if c is None else c[start:end]


def _joined(state: State, more: State) -> State:
    (h, c), (other_h, other_c) = state, more
    cells = None if c is None or other_c is None else torch.cat([c, other_c])
    return torch.cat([h, other_h]), cells
