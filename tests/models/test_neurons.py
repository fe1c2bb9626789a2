"""The integrate-and-fire neurons of the reference networks, against a loop written by hand."""

import numpy as np
import pytest
import torch

from analyzer.models.neurons import IF, LIF, spike


def lif_loop(currents, tau, v_threshold):
    """The textbook loop, one neuron and one step at a time."""
    spikes = np.zeros_like(currents)
    for neuron in np.ndindex(currents.shape[1:]):
        v = 0.0
        for t in range(len(currents)):
            v = v + (currents[(t, *neuron)] - v) / tau
            if v >= v_threshold:
                spikes[(t, *neuron)] = 1.0
                v = 0.0
    return spikes


@pytest.mark.parametrize(("tau", "v_threshold"), [(2.0, 1.0), (2.0, 0.5), (4.0, 1.0)])
def test_lif_fires_as_the_hand_written_loop(tau, v_threshold):
    # Multiples of 1/8 keep every potential exact, so equality at the threshold is decided alike.
    currents = np.random.default_rng(0).integers(-8, 40, (6, 5, 7)) / 8
    expected = lif_loop(currents, tau, v_threshold)
    found = LIF(v_threshold, tau=tau)(torch.from_numpy(currents))
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(found.numpy(), expected)


def test_equality_fires():
    assert LIF(1.0)(torch.full((1, 1), 2.0)).tolist() == [[1.0]]
    assert IF(1.0)(torch.full((1, 1), 1.0)).tolist() == [[1.0]]


def test_a_hard_reset_forgets_the_rest_and_a_soft_one_keeps_it():
    currents = torch.tensor([[1.75], [0.5], [0.5], [0.5]])
    assert IF(reset="hard")(currents).flatten().tolist() == [1, 0, 1, 0]
    assert IF(reset="soft")(currents).flatten().tolist() == [1, 1, 0, 1]


def test_forwards_share_no_state():
    neuron = LIF()
    currents = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) * 1.9
    assert torch.equal(neuron(currents), neuron(currents))


def test_surrogate_gradient_is_that_of_the_sigmoid():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    spike(x, 4.0).sum().backward()
    y = x.detach().clone().requires_grad_()
    torch.sigmoid(4.0 * y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_the_reset_carries_no_gradient():
    x = torch.tensor([[1.8], [1.2]], dtype=torch.float64, requires_grad=True)
    LIF()(x)[1].sum().backward()
    # No spike in the first step: v1 = 0.9, v2 = 1.05. Detached, dv2/dx1 = 1/4 exactly; with the
    # reset in the graph it would also hold -v1 times the surrogate slope.
    s = torch.sigmoid(torch.tensor(4.0 * 0.05, dtype=torch.float64))
    slope = 4.0 * s * (1 - s)
    torch.testing.assert_close(x.grad.flatten(), torch.stack([slope / 4, slope / 2]))
