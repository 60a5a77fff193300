"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg import kernels
from thalweg.dynamics import GradientDescent
from thalweg.models import TwoLayerNet, WideNet
from thalweg.theory.descent import geometric_rate

population = importlib.import_module("thalweg.kernels.population")


def doubled(right, *a, **k):
    return 2 * right(*a, **k)


def without_pixels(right, model, params, x):
    """Only equal pixels, as in the limit."""
    seen = model.seen(model.levels(params, x)[-2])
    z = seen @ params[-2]["weight"].T
    slope = jax.nn.sigmoid(z) * params[-1]["weight"].reshape(z.shape[1], -1)
    pairs = jnp.einsum("ilc,jlc,ilm,jlm->ij", seen, seen, slope, slope)
    return model.scale(model.depth) ** 2 * pairs


def without_readout(right, model, params, x):
    ones = [*params[:-1], {"weight": jnp.ones_like(params[-1]["weight"])}]
    return right(model, ones, x)


def of_the_level_above(right, model, params, x):
    """x^(H) for x^(H-1)."""
    levels = model.levels(params, x)
    return right(model, params, x) * jnp.sum(levels[-1] ** 2) / jnp.sum(levels[-2] ** 2)


def backwards(right, *a):
    found = right(*a)
    return found._replace(layers=found.layers[::-1])


def half_scale(right, *a):
    return right(*a) / 2


def like_softplus(right, activation, *a):
    return right("softplus", *a)


def regularised(right, name, x, *a, **k):
    found = right(name, x, *a, **k)
    return found._replace(smallest=found.smallest._replace(value=found.smallest.value + 1e-8))


def linear_kernel(right, x):
    return right(x)._replace(value=jnp.asarray(x) @ jnp.asarray(x).T / 2)


def full_angle(right, x):
    found = right(x)
    return found._replace(value=2 * found.value)


def other_half(right, x):
    """The angle for pi minus the angle."""
    x = jnp.asarray(x)
    return right(x)._replace(value=x @ x.T / 2 - right(x).value)


def subtracted(right, *a):
    found = right(*a)
    return found._replace(total=found.layers[-2] - found.layers[0])


def averaged(right, *a):
    found = right(*a)
    return found._replace(total=found.total / len(found.layers))


def without_mean(right, activation, variances, *a):
    """The term b^(h) left out."""
    return jnp.zeros_like(variances)


def as_variance(right, self, h):
    """A scale that keeps no norm: 1/m for c_s/m."""
    return right(self, h) if self.residual and h > 1 else jnp.asarray(self.width**-0.5)


def narrow_weights(right, self, *a, **k):
    return [{"weight": 0.9 * layer["weight"]} for layer in right(self, *a, **k)]


def undivided(right, x, net):
    """The limit of x + c_res/sqrt(m) s(W x), without the depth H."""
    return right(x, net._replace(residual=net.residual * net.depth))


def slowed(right, self, problem, state, key):
    """A hundredth of the gradient."""
    return right(GradientDescent(self.step_size / 100), problem, state, key)


def sped_up(right, self, problem, state, key):
    return right(GradientDescent(5 * self.step_size), problem, state, key)


def of_the_largest(right, losses, step_size, smallest):
    """The bound with an eigenvalue near the largest, 0.5/eta, in place of lambda_0."""
    return right(losses, step_size, 1 / step_size)


def half_the_exponent(right, gram, residual, step_size):
    """(1 - eta lambda)^k for its square."""
    found = right(gram, residual, step_size)
    return found._replace(at=lambda t: found.at(np.asarray(t) / 2))


def quarter_of_the_gram(right, gram, residual, step_size):
    return right(gram / 4, residual, step_size)


def small_readout(right, self, *a, **k):
    """A readout that shrinks with the width, as in mean-field nets, which learn features."""
    *hidden, last = right(self, *a, **k)
    return [*hidden, {"weight": last["weight"] * (16 / self.width) ** 0.5}]


def as_narrow(right, self, *a, **k):
    """Only 16 neurons of a layer are connected, whatever its width."""
    params = right(self, *a, **k)

    def kept(weight):
        rows, columns = np.arange(weight.shape[0])[:, None], np.arange(weight.shape[1])
        return jnp.where((rows < 16) & (columns < 16), weight, 0) * (self.width / 16) ** 0.5

    return [{"weight": kept(layer["weight"])} for layer in params]


def without_square_root(right, self, params, x):
    """Outputs that grow with the width."""
    return right(self, params, x) * self.width**0.5


def summed(right, weights, x):
    return right(weights, x) * len(weights)


def bare_bound(right, norm, n, width, smallest):
    """||y - u(0)|| / sqrt(m), without 4 sqrt(n) / lambda_0."""
    return right(norm, n, width, smallest) * smallest / (4 * n**0.5)


def inner_products(right, name, x, *a, **k):
    """A stub that returns X X^T at every level."""
    found = right(name, x, *a, **k)
    flat = jnp.asarray(x).reshape(len(x), -1)
    gram = flat @ flat.T
    same = found.gram._replace(value=gram)
    smallest = found.smallest._replace(value=jnp.linalg.eigvalsh(gram)[0])
    return found._replace(gram=same, smallest=smallest)


def c7(place, name, wrong, about):
    return Fault("C7", place, name, wrong, about, {"widths": (128,), "steps": 40})


def c8(place, name, wrong, about):
    parts = ("rate of the tail", "error of ln L", "ln L within")
    return Fault("C8", place, name, wrong, about, {"widths": (512,)}, parts=parts)


RESIDUAL = (population.ARCHITECTURES, "resnet", undivided, "residual branches of strength c_res")
NARROW = (WideNet, "init", as_narrow, "nets that only look wide")


@fault_table(
    Fault("C1", kernels, "last_layer_gram", doubled, "factor 2"),
    Fault("C1", kernels, "last_layer_gram", without_pixels, "pairs of pixels left out"),
    Fault("C1", kernels, "last_layer_gram", without_readout, "readout left out"),
    Fault("C1", kernels, "last_layer_gram", of_the_level_above, "another level"),
    Fault("C1", kernels, "layer_grams", backwards, "layers backwards"),
    Fault("C2", population, "normalisation", half_scale, "c_s halved"),
    Fault("C2", kernels, "gaussian_mean", like_softplus, "no odd activation"),
    Fault("C3", kernels, "two_layer_relu_gram", full_angle, "2 pi for pi"),
    Fault("C3", kernels, "two_layer_relu_gram", other_half, "the angle for pi - angle"),
    Fault("C3", kernels, "two_layer_relu_gram", linear_kernel, "no angle"),
    Fault("C4", kernels, "population_gram", regularised, "a multiple of 1 added"),
    Fault("C4", kernels, "two_layer_relu_gram", linear_kernel, "no angle"),
    Fault("C5", kernels, "layer_grams", subtracted, "a layer subtracted"),
    Fault("C5", kernels, "layer_grams", averaged, "mean for sum"),
    Fault("C6", population, "gaussian_mean", without_mean, "b left out"),
    Fault("C6", population, "normalisation", lambda right, s, n: 1 / 0.5, "another activation"),
    Fault("C6", WideNet, "scale", as_variance, "c_s left out of the net"),
    Fault("C6", WideNet, "init", narrow_weights, "small weights"),
    Fault("C6", *RESIDUAL),
    c7(GradientDescent, "step", slowed, "a slow descent"),
    c7(GradientDescent, "step", sped_up, "overshooting"),
    c7(geometric_rate, "rate_certificate", of_the_largest, "another eigenvalue"),
    c8(geometric_rate, "linearised_loss", half_the_exponent, "half of the exponent"),
    c8(geometric_rate, "linearised_loss", quarter_of_the_gram, "a quarter of the Gram matrix"),
    c8(GradientDescent, "step", slowed, "a slow descent"),
    Fault("C9", WideNet, "init", small_readout, "a small readout"),
    Fault("C9", *NARROW),
    Fault("C10", *NARROW),
    Fault("C11", kernels, "two_layer_gram", summed, "sum for mean", compiled=True),
    Fault("C11", kernels, "two_layer_relu_gram", full_angle, "another limit"),
    Fault("C11", TwoLayerNet, "features", without_square_root, "outputs without 1/sqrt(m)"),
    Fault("C11", geometric_rate, "two_layer_drift_bound", bare_bound, "bound without lambda_0"),
    Fault("C12", kernels, "population_gram", inner_products, "inner products"),
    Fault("C12", population, "normalisation", half_scale, "c_s halved"),
    Fault("C12", population, "gaussian_mean", without_mean, "b left out"),
    Fault("C12", *RESIDUAL),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
