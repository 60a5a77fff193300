"""The leaky integrate-and-fire neuron in discrete time, and layers of it over many steps."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.doors import Checked
from thalweg.core.errors import require
from thalweg.models.spiking.surrogates import SurrogateDerivative, spikes_of, surrogate_given

# A constant current is read once where all steps are one expression: there and back 0.8 ms instead
# of 2.2 for 8 steps of 128 x 800 neurons. With a current for each step the loop is the faster.
MOST_UNROLLED = 16


class LIF(Checked):
    """A leaky integrate-and-fire neuron: it charges, fires at its threshold, and is reset.

    In each step, from u_0 = rest and with input current I_t:

    - m_t = u_{t-1} + (I_t - (u_{t-1} - rest)) / tau;
    - S_t = 1{m_t >= threshold}, whose derivative is taken to be s(m_t - threshold);
    - u_t = (1 - S_t) m_t + S_t rest (hard reset), or m_t - S_t (threshold - rest) (soft).

    Of a constant current below threshold u_t = rest + I (1 - (1 - 1/tau)^t). SpikingJelly's LIFNode
    with decay_input=True is the same; its soft reset is that of rest 0.

    Attributes:
        tau: Membrane time constant in steps, at least 1; at 1 nothing is remembered.
        threshold: Potential from which the neuron fires, above `rest`.
        rest: Potential at the start, and after a hard reset.
        reset: "hard" or "soft".
        detached: Whether S_t counts as a constant in the reset when derivatives are taken.
        surrogate: What stands in for the derivative of a spike: a name in `SURROGATES`, one with a
            width as "arctan:0.5", or what `surrogate_derivative` gives.

    Source: Chen, Yu, Fang, Huang and Tian (2021), E1 and E2.

    Examples:
        >>> neuron = tw.models.LIF(tau=2.0)
        >>> run = tw.models.lif_rollout(neuron, jnp.array([0.5, 1.5, 2.0]), steps=4)
        >>> run.spikes.T.tolist()  # below threshold for ever, every other step, each step
        [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """

    tau: float = eqx.field(static=True, default=2.0)
    threshold: float = eqx.field(static=True, default=1.0)
    rest: float = eqx.field(static=True, default=0.0)
    reset: Literal["hard", "soft"] = eqx.field(static=True, default="hard")
    detached: bool = eqx.field(static=True, default=True)
    surrogate: str | SurrogateDerivative = eqx.field(
        static=True, converter=surrogate_given, default="arctan"
    )

    def __check_init__(self) -> None:
        for name in ("tau", "threshold", "rest"):
            value = getattr(self, name)
            require(
                isinstance(value, int | float) and math.isfinite(value),
                f"{name} came as {told(value)}; give a finite number",
            )
        require(self.tau >= 1, f"tau came as {self.tau}; give a time constant of at least 1 step")
        require(
            self.threshold > self.rest,
            f"threshold came as {self.threshold} and rest as {self.rest}; give a threshold above "
            "the rest",
        )

    def charged(self, u: Float[Array, "..."], current: Float[Array, "..."]) -> Float[Array, "..."]:
        """The potential m_t after a current, before firing."""
        return u + (current - (u - self.rest)) / self.tau

    def fired(self, m: Float[Array, "..."]) -> Float[Array, "..."]:
        """The spikes S_t, 0 or 1 (not-a-number where the potential is)."""
        return spikes_of(m - self.threshold, self.derivative)

    def after(self, m: Float[Array, "..."], spikes: Float[Array, "..."]) -> Float[Array, "..."]:
        """The potential u_t after the reset."""
        spikes = jax.lax.stop_gradient(spikes) if self.detached else spikes
        if self.reset == "hard":
            return (1.0 - spikes) * m + spikes * self.rest
        return m - spikes * (self.threshold - self.rest)

    @property
    def derivative(self) -> SurrogateDerivative:
        """What stands in for the derivative of a spike."""
        assert isinstance(self.surrogate, SurrogateDerivative)
        return self.surrogate


class LayerRun(NamedTuple):
    """What a layer of neurons did: potentials m_t before firing and spikes, (t, ...) or at a t."""

    potentials: Float[Array, "*t"]
    spikes: Float[Array, "*t"]


def lif_rollout(neuron: LIF, current: Float[Array, "..."], steps: int | None = None) -> LayerRun:
    """Neurons side by side over time, from rest, by one `jax.lax.scan`.

    Args:
        neuron: What all of them are.
        current: Of axes (t, ...), a current for each step; or with `steps` given of any axes, a
            constant current.
        steps: How many steps the constant current lasts, at least 1.

    Returns:
        Potentials before firing and spikes, of axes (t, ...).

    Raises:
        InputError: If `steps` is below 1, or no step is there.

    Examples:
        >>> soft = tw.models.LIF(reset="soft")
        >>> tw.models.lif_rollout(soft, jnp.array([2.5, 0.0, 2.5])).spikes.tolist()
        [1.0, 0.0, 1.0]
    """
    current = jnp.asarray(current)
    if not jnp.issubdtype(current.dtype, jnp.floating):
        current = current.astype(float)
    if steps is None:
        require(
            current.ndim > 0 and current.shape[0] > 0,
            f"current came as {told(current)}; give axes (steps, ...), or steps with a constant "
            "current",
        )
    else:
        require(steps >= 1, f"steps came as {steps}; give at least 1")
    shape = current.shape[1:] if steps is None else current.shape

    def step(u: Array, given: Array | None) -> tuple[Array, LayerRun]:
        m = neuron.charged(u, current if given is None else given)
        spikes = neuron.fired(m)
        return neuron.after(m, spikes), LayerRun(m, spikes)

    start = jnp.full(shape, neuron.rest, current.dtype)
    if steps is None:
        return jax.lax.scan(step, start, current)[1]
    whole = steps if steps <= MOST_UNROLLED else 1
    return jax.lax.scan(step, start, None, steps, unroll=whole)[1]
