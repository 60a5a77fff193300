"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg import kernels
from thalweg.dynamics import GradientDescent
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import TwoLayerNet, WideNet
from thalweg.studies.du2018_global_minima import STUDY, training
from thalweg.studies.du2018_global_minima import gram as grams
from thalweg.theory.descent import geometric_rate

LAB = Lab(progress=False)
# The package has functions of these names; the modules are behind them.
population = sys.modules["thalweg.kernels.population"]
COMPILED = (WideNet, TwoLayerNet, GradientDescent)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""
    stale = False

    def plant(place, name, wrong):
        nonlocal stale
        if place in COMPILED:  # what was compiled with the right one must not be met again
            stale = True
            jax.clear_caches()
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    yield plant
    if stale:
        jax.clear_caches()


def verdict(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (judged,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return judged


def word(claim, **found):
    return verdict(claim, **found).word


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


C1 = {
    "factor 2": ("last_layer_gram", doubled),
    "pairs of pixels left out": ("last_layer_gram", without_pixels),
    "readout left out": ("last_layer_gram", without_readout),
    "another level": ("last_layer_gram", of_the_level_above),
    "layers backwards": ("layer_grams", backwards),
}


@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, monkeypatch, name):
    monkeypatch.setattr(grams, "ARCHITECTURES", (grams.CONVOLUTIONAL,))
    fault(kernels, *C1[name])
    assert word("C1", X1_formulas=grams.formulas(LAB)) == "not reproduced"


def half_scale(right, *a):
    return right(*a) / 2


def like_softplus(right, activation, *a):
    return right("softplus", *a)


def regularised(right, name, x, *a, **k):
    found = right(name, x, *a, **k)
    return found._replace(smallest=found.smallest._replace(value=found.smallest.value + 1e-8))


def linear_kernel(right, x):
    return right(x)._replace(value=jnp.asarray(x) @ jnp.asarray(x).T / 2)


POPULATION = {
    "c_s halved": ("C2", population, "normalisation", half_scale),
    "no odd activation": ("C2", kernels, "gaussian_mean", like_softplus),
    "a multiple of 1 added": ("C4", kernels, "population_gram", regularised),
    "no angle": ("C4", kernels, "two_layer_relu_gram", linear_kernel),
}


@pytest.mark.parametrize("name", POPULATION)
def test_c2_and_c4_fail(fault, name):
    claim, *where = POPULATION[name]
    fault(*where)
    assert word(claim, X1_population=grams.population(LAB)) == "not reproduced"


def full_angle(right, x):
    found = right(x)
    return found._replace(value=2 * found.value)


def other_half(right, x):
    """The angle for pi minus the angle."""
    x = jnp.asarray(x)
    return right(x)._replace(value=x @ x.T / 2 - right(x).value)


@pytest.mark.parametrize("wrong", [full_angle, other_half, linear_kernel])
def test_c3_fails(fault, wrong):
    fault(kernels, "two_layer_relu_gram", wrong)
    assert word("C3", X3_average=training.average(LAB)) == "not reproduced"


def subtracted(right, *a):
    found = right(*a)
    return found._replace(total=found.layers[-2] - found.layers[0])


def averaged(right, *a):
    found = right(*a)
    return found._replace(total=found.total / len(found.layers))


@pytest.mark.parametrize("wrong", [subtracted, averaged])
def test_c5_fails(fault, monkeypatch, wrong):
    monkeypatch.setattr(grams, "ARCHITECTURES", ("resnet",))
    fault(kernels, "layer_grams", wrong)
    assert word("C5", X1_formulas=grams.formulas(LAB)) == "not reproduced"


def without_mean(right, activation, variances, *a):
    """The term b^(h) left out."""
    return jnp.zeros_like(variances)


def as_variance(right, self, h):
    """A scale that keeps no norm: 1/m for c_s/m."""
    return right(self, h) if self.residual and h > 1 else jnp.asarray(self.width**-0.5)


def narrow_weights(right, self, *a, **k):
    return [{"weight": 0.9 * layer["weight"]} for layer in right(self, *a, **k)]


C6 = {
    "b left out": (population, "gaussian_mean", without_mean),
    "c_s of another activation": (population, "normalisation", lambda right, s, n: 1 / 0.5),
    "c_s left out of the net": (WideNet, "scale", as_variance),
    "small weights": (WideNet, "init", narrow_weights),
}


SMALL_SAMPLE = {64: 200, 256: 60}


@pytest.mark.slow
def test_c6_holds_without_fault(monkeypatch):
    monkeypatch.setattr(grams, "ARCHITECTURES", grams.DENSE)
    assert word("C6", X1=grams.distances(SMALL_SAMPLE, {})) == "reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("name", C6)
def test_c6_fails(fault, monkeypatch, name):
    monkeypatch.setattr(grams, "ARCHITECTURES", grams.DENSE)
    fault(*C6[name])
    assert word("C6", X1=grams.distances(SMALL_SAMPLE, {})) == "not reproduced"


@pytest.mark.slow
def test_c6_fails_with_residual_branches_of_strength_c_res(monkeypatch):
    monkeypatch.setattr(grams, "ARCHITECTURES", grams.DENSE)
    undivided(monkeypatch)
    assert word("C6", X1=grams.distances(SMALL_SAMPLE, {})) == "not reproduced"


def undivided(monkeypatch):
    """The limit of x + c_res/sqrt(m) s(W x), without the depth H."""
    right = population.ARCHITECTURES["resnet"]

    def wrong(x, net):
        return right(x, net._replace(residual=net.residual * net.depth))

    monkeypatch.setitem(population.ARCHITECTURES, "resnet", wrong)


def test_the_means_are_a_quarter_of_the_limit(fault):
    """What a limit without b^(h) misses: 25 % of K^(H) with three layers."""
    x = grams.examples("resnet")
    right = np.asarray(grams.limit("resnet", x).gram.value)
    fault(population, "gaussian_mean", without_mean)
    wrong = np.asarray(grams.limit("resnet", x).gram.value)
    assert abs(np.linalg.norm(right - wrong) / np.linalg.norm(right) - 0.25) < 0.02


def slowed(right, self, problem, state, key):
    """A hundredth of the gradient."""
    return right(GradientDescent(self.step_size / 100), problem, state, key)


def sped_up(right, self, problem, state, key):
    return right(GradientDescent(5 * self.step_size), problem, state, key)


def of_the_largest(right, losses, step_size, smallest):
    """The bound with an eigenvalue near the largest, 0.5/eta, in place of lambda_0."""
    return right(losses, step_size, 1 / step_size)


@pytest.fixture
def one_net(monkeypatch):
    monkeypatch.setattr(training, "DENSE", ("fully-connected",))


def small_c7():
    shallow = training.two_layer_runs((200,), 2, 20, 20, 100)
    return {"X2": training.deep_runs((64,), 2, steps=40), "X3": shallow}


C7 = {
    "a slow descent": (GradientDescent, "step", slowed),
    "overshooting": (GradientDescent, "step", sped_up),
    "another eigenvalue": (geometric_rate, "rate_certificate", of_the_largest),
}


@pytest.mark.slow
def test_c7_holds_without_fault(one_net):
    assert word("C7", **small_c7()) == "reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("name", C7)
def test_c7_fails(fault, one_net, name):
    fault(*C7[name])
    assert word("C7", **small_c7()) == "not reproduced"


def half_the_exponent(right, gram, residual, step_size):
    """(1 - eta lambda)^k for its square."""
    found = right(gram, residual, step_size)
    return found._replace(at=lambda t: found.at(np.asarray(t) / 2))


def quarter_of_the_gram(right, gram, residual, step_size):
    return right(gram / 4, residual, step_size)


def small_c8(monkeypatch):
    monkeypatch.setattr("thalweg.studies.du2018_global_minima.claims.WIDE", 512)
    data = training.deep_data_runs(256, 5, steps=60)
    return verdict("C8", X2=training.deep_runs((512,), 2, steps=60), X2_data=data)


C8 = {
    "half of the exponent": (geometric_rate, "linearised_loss", half_the_exponent),
    "a quarter of the Gram matrix": (geometric_rate, "linearised_loss", quarter_of_the_gram),
    "a slow descent": (GradientDescent, "step", slowed),
}


@pytest.mark.slow
def test_c8_holds_on_few_steps_without_fault(one_net, monkeypatch):
    """Five data sets of five show more than half of all."""
    assert small_c8(monkeypatch).word == "reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("name", C8)
def test_c8_fails(fault, one_net, monkeypatch, name):
    fault(*C8[name])
    told = small_c8(monkeypatch).surprises
    for part in (
        "rate of the tail (net",
        "error of ln L",
        "rate of the tail within",
        "ln L within",
    ):
        assert any(part in one for one in told)


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


def small_x2():
    return training.deep_runs((32, 128, 512), 3, steps=100)


@pytest.mark.slow
def test_c9_and_c10_hold_without_fault(one_net):
    found = small_x2()
    assert word("C9", X2=found) == word("C10", X2=found) == "reproduced"


@pytest.mark.slow
def test_c9_fails_with_a_small_readout(fault, one_net):
    fault(WideNet, "init", small_readout)
    assert word("C9", X2=small_x2()) == "not reproduced"


@pytest.mark.slow
def test_c9_and_c10_fail_where_nets_only_look_wide(fault, one_net):
    fault(WideNet, "init", as_narrow)
    found = small_x2()
    assert word("C9", X2=found) == word("C10", X2=found) == "not reproduced"


def without_square_root(right, self, params, x):
    """Outputs that grow with the width."""
    return right(self, params, x) * self.width**0.5


def summed(right, weights, x):
    return right(weights, x) * len(weights)


def bare_bound(right, norm, n, width, smallest):
    """||y - u(0)|| / sqrt(m), without 4 sqrt(n) / lambda_0."""
    return right(norm, n, width, smallest) * smallest / (4 * n**0.5)


def small_x3():
    return training.two_layer_runs((200, 3200), 3, 20, 20, 200)


C11 = {
    "sum over neurons for mean": (kernels, "two_layer_gram", summed),
    "another limit": (kernels, "two_layer_relu_gram", full_angle),
    "outputs without 1/sqrt(m)": (TwoLayerNet, "features", without_square_root),
    "bound without lambda_0": (geometric_rate, "two_layer_drift_bound", bare_bound),
}


@pytest.mark.slow
def test_c11_holds_without_fault():
    assert word("C11", X3=small_x3()) == "reproduced"


@pytest.mark.slow
@pytest.mark.parametrize("name", C11)
def test_c11_fails(fault, name):
    place, attribute, wrong = C11[name]
    jax.clear_caches()  # the loop is compiled with the kernels that it observes
    fault(place, attribute, wrong)
    assert word("C11", X3=small_x3()) == "not reproduced"
    jax.clear_caches()


def inner_products(right, name, x, *a, **k):
    """A stub that returns X X^T at every level."""
    found = right(name, x, *a, **k)
    flat = jnp.asarray(x).reshape(len(x), -1)
    gram = flat @ flat.T
    same = found.gram._replace(value=gram)
    smallest = found.smallest._replace(value=jnp.linalg.eigvalsh(gram)[0])
    return found._replace(gram=same, smallest=smallest)


@pytest.mark.parametrize(
    "where",
    [
        (kernels, "population_gram", inner_products),
        (population, "normalisation", half_scale),
        (population, "gaussian_mean", without_mean),
    ],
    ids=["inner products", "c_s halved", "b left out"],
)
def test_c12_fails(fault, where):
    fault(*where)
    assert word("C12", X1_depth=grams.depth(LAB)) == "not reproduced"


def test_c12_fails_with_residual_branches_of_strength_c_res(monkeypatch):
    undivided(monkeypatch)
    assert word("C12", X1_depth=grams.depth(LAB)) == "not reproduced"
