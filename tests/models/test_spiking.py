"""Spiking nets: neurons in closed form, gradients against backpropagation through time by hand."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import LIF, SURROGATES, lif_rollout, spiking_mlp, surrogate_derivative

FORMULAS = {
    "arctan": lambda x: 1 / (1 + (math.pi * x) ** 2),
    "sigmoid": lambda x: 1 / math.cosh(2 * x) ** 2,
    "fast-sigmoid": lambda x: 1 / (1 + 2 * abs(x)) ** 2,
    "triangle": lambda x: max(1 - abs(x), 0),
    "rectangle": lambda x: float(abs(x) <= 0.5),
    "straight-through": lambda x: 1.0,
}


@pytest.mark.parametrize("kind", SURROGATES)
class TestSurrogates:
    @pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (0.4, 2.5)])
    def test_is_its_formula(self, kind: str, width: float, height: float) -> None:
        slope = surrogate_derivative(kind, width, height)
        z = np.linspace(-1.5, 1.5, 31)
        expected = [height * FORMULAS[kind](at / width) for at in z]
        np.testing.assert_allclose(slope(jnp.asarray(z)), expected, rtol=1e-13, atol=1e-15)
        assert float(slope(jnp.asarray(0.0))) == height

    def test_is_what_derivatives_take_for_the_slope(self, kind: str) -> None:
        """Forward and backward; the second derivative is the slope's own, of its piece."""
        slope = surrogate_derivative(kind, 0.7, 1.3)
        z = jnp.asarray([-0.6, -0.2, 0.0, 0.1, 0.9])

        def fire(at: jax.Array) -> jax.Array:
            return tw.models.spikes_of(at, slope)

        assert fire(z).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
        np.testing.assert_array_equal(jax.vmap(jax.grad(fire))(z), slope(z))
        np.testing.assert_array_equal(jax.jvp(fire, (z,), (3 * jnp.ones(5),))[1], 3 * slope(z))
        off = z[jnp.abs(z) > 0.05]
        h = 1e-5
        bends = (slope(off + h) - slope(off - h)) / (2 * h)
        second = jax.vmap(jax.grad(jax.grad(fire)))(off)
        np.testing.assert_allclose(second, bends, rtol=1e-7, atol=1e-9)

    def test_has_area_one(self, kind: str) -> None:
        if kind == "straight-through":
            return
        x = np.linspace(-2000.0, 2000.0, 4_000_001)
        area = np.trapezoid(np.asarray(surrogate_derivative(kind)(jnp.asarray(x))), x)
        assert abs(area - 1) < 1e-3


class TestNeuron:
    def test_charges_in_closed_form_below_threshold(self) -> None:
        """u_t = rest + I (1 - (1 - 1/tau)^t) of a current that is too weak, also off rest 0."""
        for tau, rest in ((2.0, 0.0), (5.0, -0.5)):
            neuron = LIF(tau=tau, rest=rest)
            current = jnp.asarray([0.9 - rest, 0.5, -2.0])
            run = lif_rollout(neuron, current, steps=200)
            t = np.arange(1, 201)[:, None]
            expected = rest + np.asarray(current) * (1 - (1 - 1 / tau) ** t)
            np.testing.assert_allclose(run.potentials, expected, rtol=1e-13, atol=1e-14)
            assert float(jnp.max(run.spikes)) == 0.0

    def test_fires_every_step_from_twice_the_threshold(self) -> None:
        run = lif_rollout(LIF(), jnp.asarray([0.9, 2.0, 3.7]), steps=60)
        assert run.spikes.sum(axis=0).tolist() == [0.0, 60.0, 60.0]

    def test_fires_when_it_first_reaches_the_threshold(self) -> None:
        """At the least t with I (1 - (1 - 1/tau)^t) >= 1; a hard reset makes that a period."""
        tau, currents = 4.0, np.array([1.05, 1.3, 2.0, 3.9])
        run = lif_rollout(LIF(tau=tau), jnp.asarray(currents), steps=48)
        for i, current in enumerate(currents):
            period = math.ceil(math.log(1 - 1 / current) / math.log(1 - 1 / tau))
            fired = np.flatnonzero(np.asarray(run.spikes[:, i])) + 1
            np.testing.assert_array_equal(fired, np.arange(period, 49, period))

    def test_a_soft_reset_loses_no_charge(self) -> None:
        """With no leak to speak of, spikes count the charge; a hard reset drops what is over."""
        currents = jnp.asarray([0.3, 0.77, 0.97]) * 1e6
        soft = lif_rollout(LIF(tau=1e6, reset="soft"), currents, steps=100)
        np.testing.assert_array_equal(soft.spikes.sum(axis=0), [29.0, 76.0, 96.0])
        hard = lif_rollout(LIF(tau=1e6), currents, steps=100)
        np.testing.assert_array_equal(hard.spikes.sum(axis=0), [25.0, 50.0, 50.0])

    def test_a_constant_current_is_the_same_current_at_every_step(self) -> None:
        current = jnp.linspace(-1.0, 4.0, 12).reshape(3, 4)
        once = lif_rollout(LIF(tau=3.0), current, steps=7)
        each = lif_rollout(LIF(tau=3.0), jnp.broadcast_to(current, (7, 3, 4)))
        np.testing.assert_array_equal(once.spikes, each.spikes)
        np.testing.assert_array_equal(once.potentials, each.potentials)

    def test_a_lost_potential_is_not_silent(self) -> None:
        assert bool(jnp.all(jnp.isnan(lif_rollout(LIF(), jnp.full(2, jnp.nan), 3).spikes)))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"tau": 0.5}, "tau came as 0.5"),
            ({"threshold": 0.0}, "threshold above"),
            ({"rest": math.nan}, "rest came as nan"),
            ({"reset": "none"}, "'hard' or 'soft'"),
            ({"surrogate": "arctn"}, "Did you mean 'arctan'"),
            ({"surrogate": "arctan:-1"}, "width above 0"),
            ({"surrogate": 3.0}, "surrogate came as 3.0"),
            ({"tau": True}, "tau"),
        ],
    )
    def test_says_what_it_takes(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            LIF(**options)
        assert "\n" not in str(caught.value)


def by_hand(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, neuron: LIF
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """Loss, gradients and mean rates, step by step in NumPy, as SpikingJelly's modules do it.

    mean((rates - y)^2) over examples and classes; x is (t, n, d), the product taken at every step;
    s is the arctan slope of width 0.8. Nothing of thalweg's is used.
    """
    tau, top, rest, soft, detached = (
        neuron.tau, neuron.threshold, neuron.rest, neuron.reset == "soft", neuron.detached,
    )  # fmt: skip
    steps = len(x)
    inputs, states, h = [], [], x
    for W in weights:
        inputs.append(h)
        v, m_all, s_all = rest, [], []
        for t in range(steps):
            m = v + (h[t] @ W.T - (v - rest)) / tau
            s = (m >= top) * 1.0
            v = m - s * (top - rest) if soft else (1 - s) * m + s * rest
            m_all.append(m)
            s_all.append(s)
        states.append((np.array(m_all), np.array(s_all)))
        h = states[-1][1]
    gap = h.mean(axis=0) - y
    loss = float((gap**2).mean())
    from_above = np.broadcast_to(2 * gap / gap.size / steps, h.shape)
    grads: list[np.ndarray] = []
    for W, h, (m, s) in reversed(list(zip(weights, inputs, states, strict=True))):
        grad, below, gv = np.zeros_like(W), np.zeros_like(h), np.zeros_like(m[0])
        for t in reversed(range(steps)):
            slope = 1 / (1 + (np.pi * (m[t] - top) / 0.8) ** 2)
            gs = from_above[t].copy()
            if not detached:
                gs += gv * (-(top - rest) if soft else rest - m[t])
            gm = slope * gs + (gv if soft else gv * (1 - s[t]))
            grad += (gm / tau).T @ h[t]
            below[t] = gm / tau @ W
            gv = gm * (1 - 1 / tau)
        grads.insert(0, grad)
        from_above = below
    return loss, grads, [float(s.mean()) for _, s in states]


def drawn(widths: list[int], gain: float = 5.0) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    pairs = zip(widths[1:], widths[:-1], strict=True)
    return [rng.uniform(-gain / 2, gain, (out, into)) / np.sqrt(into) for out, into in pairs]


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("reset", ["hard", "soft"])
class TestGradient:
    WIDTHS = (7, 6, 5, 3)
    STEPS = 9

    @pytest.mark.parametrize("presentation", ["constant", "by-step"])
    def test_is_backpropagation_through_time(
        self, reset: Any, detached: bool, presentation: Any
    ) -> None:
        """To rounding, several layers deep; a rest and a threshold that are not 0 and 1."""
        neuron = LIF(1.7, 0.9, -0.15, reset, detached, "arctan:0.8")
        net = spiking_mlp(self.WIDTHS[1:-1], self.STEPS, neuron=neuron, presentation=presentation)
        rng = np.random.default_rng(8)
        shape = (4, self.STEPS, 7) if presentation == "by-step" else (4, 7)
        x, y = len(shape) * rng.normal(size=shape), rng.uniform(size=(4, 3))
        weights = drawn(list(self.WIDTHS))
        trains = np.moveaxis(x, 1, 0) if x.ndim == 3 else np.broadcast_to(x, (self.STEPS, 4, 7))
        loss, expected, rates = by_hand(weights, trains, y, neuron)
        assert min(rates) > 0.05  # every layer fires, and none always
        assert max(rates) < 0.9

        def objective(params: Any) -> jax.Array:
            return jnp.mean((net.apply(params, jnp.asarray(x)) - y) ** 2)

        params = [{"weight": jnp.asarray(W)} for W in weights]
        value, found = jax.jit(jax.value_and_grad(objective))(params)
        assert float(value) == pytest.approx(loss, rel=1e-14)
        for layer, grad in zip(found, expected, strict=True):
            scale = np.max(np.abs(grad))
            assert scale > 1e-6
            np.testing.assert_allclose(layer["weight"], grad, rtol=1e-12, atol=1e-14 * scale)
