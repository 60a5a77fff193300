"""K-FAC against dense algebra, closed forms and its own switches."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core import tree
from thalweg.core.errors import InputError
from thalweg.driver import chunks
from thalweg.dynamics.natural_gradient.quadratic_model import QuadraticModel, next_damping
from thalweg.dynamics.natural_gradient.seen import strided

RNG = np.random.default_rng(5)
KEY = jax.random.key(0)
X = RNG.normal(size=(20, 3))
LABELS = np.arange(20) % 3


def net(decay=0.01, **options):
    problem = tw.problems.supervised(tw.models.mlp([5], bias=True), (X, LABELS), **options)
    return tw.problems.Decayed(problem, decay), problem.init(KEY)


def flat(params):
    return jax.flatten_util.ravel_pytree(params)[0]


def stepped(dynamics, problem, params, count=1):
    state = dynamics.init(problem, params)
    step = jax.jit(lambda state, key: dynamics.step(problem, state, key)[0])
    states = [state]
    for k in range(count):
        states.append(step(states[-1], jax.random.fold_in(KEY, k)))
    return states


# ---- the quadratic model -----------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [(None, None), (None, 0.4), (0.3, None)])
def test_the_model_is_least_where_it_says(fixed):
    """C5: gradient zero in what is free; M = (alpha g.Delta + mu g.delta_0)/2 where both are."""
    M = RNG.normal(size=(2, 2))
    model = QuadraticModel(jnp.array([-1.3, 0.4]), jnp.asarray(M @ M.T), jnp.eye(2) * 0.1)
    given = [None if f is None else jnp.asarray(f) for f in fixed]
    by = model.lowest(*given)
    slope = jax.grad(model.change)(by)
    for i, value in enumerate(fixed):
        if value is None:
            assert abs(slope[i]) < 1e-13
        else:
            assert float(by[i]) == value
    if fixed == (None, None):
        assert float(model.change(by)) == pytest.approx(float(model.slope @ by) / 2, rel=1e-12)
    undamped = float(model.change(by)) - 0.05 * float(by @ by)
    assert float(model.change(by, damped=False)) == pytest.approx(undamped, rel=1e-12)


def test_one_direction_alone_and_two_that_are_one():
    c = jnp.array([[2.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(QuadraticModel(jnp.array([-1.0, 0.0]), c, 0 * c).lowest(), [0.5, 0])
    c = 2.0 * jnp.ones((2, 2))
    np.testing.assert_allclose(QuadraticModel(jnp.array([-1.0, -1.0]), c, 0 * c).lowest(), [0.5, 0])


def test_the_damping_rule():
    rule = [float(next_damping(jnp.asarray(2.0), jnp.asarray(r), jnp.asarray(0.5))) for r in (0.9, 0.5, 0.1, jnp.nan)]  # fmt: skip # noqa: E501
    assert rule == [1.0, 2.0, 4.0, 4.0]


# ---- one step ----------------------------------------------------------------------------------


def test_undamped_it_solves_one_linear_layer_in_a_step():
    """C7: from anywhere to the least-squares solution, biases too, the loss summed or not."""
    Y = RNG.normal(size=(20, 2))
    model = tw.models.mlp([], bias=True)
    for reduction in ("mean", "sum"):
        problem = tw.problems.supervised(model, (X, Y), reduction=reduction)
        dynamics = tw.kfac(1e-14, targets="exact", learning_rate=1.0, momentum=0.0, damping_decay=None)  # fmt: skip # noqa: E501
        at = stepped(dynamics, problem, problem.init(KEY))[1].params[0]
        best = np.linalg.lstsq(np.c_[X, np.ones(20)], Y, rcond=None)[0]
        np.testing.assert_allclose(at["weight"], best[:3].T, atol=1e-6)
        np.testing.assert_allclose(at["bias"], best[3], atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("structure", ["diagonal", "tridiagonal", "eigenvalues"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_two_steps_against_dense_matrices(structure, reduction):
    """Direction, alpha, mu and the ratio from dense factors and the dense exact Fisher matrix."""
    problem, params = net(reduction=reduction)
    lam = 0.05
    dynamics = tw.kfac(
        lam, targets="exact", structure=structure, damping_period=1, average=0.0, history=0
    )
    states = stepped(dynamics, problem, params, 2)
    last = np.zeros(len(flat(params)))
    for before, after in pairwise(states):
        lam, gamma2 = float(before.memory.damping), float(before.memory.damping) + 0.01
        theta = before.params
        K = tw.curvature.kronecker_fisher(problem.problem, theta, structure=structure, damping=gamma2)  # fmt: skip # noqa: E501
        F = np.asarray(tw.curvature.fisher(problem.problem, theta).dense())
        g = np.asarray(flat(jax.grad(problem.objective)(theta)))
        ways = [-np.linalg.solve(np.asarray(K.dense()), g)]
        if last.any():
            ways.append(last)
        D = np.stack(ways, axis=1)
        whole = F + (lam + 0.01) * np.eye(len(F))
        by = -np.linalg.solve(D.T @ whole @ D, D.T @ g)
        last = np.asarray(flat(after.memory.last))
        np.testing.assert_allclose(last, D @ by, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(after.memory.along[: len(by)], by, rtol=1e-7)
        rise = float(problem.objective(after.params) - problem.objective(theta))
        ratio = rise / float(g @ last + last @ whole @ last / 2)
        assert float(after.memory.ratio) == pytest.approx(ratio, rel=1e-6)
        expected = next_damping(jnp.asarray(lam), jnp.asarray(ratio), jnp.asarray(0.9))
        assert float(after.memory.damping) == pytest.approx(float(expected))


@pytest.mark.thorough
def test_the_first_damping_is_the_best_of_those_tried():
    problem, params = net()
    state = stepped(tw.kfac(targets="exact", damping_decay=None, reject=False), problem, params)[1]
    chosen = float(state.memory.damping)
    reached = float(problem.objective(state.params))
    for factor in (0.01, 0.1, 10.0, 100.0):
        other = tw.kfac(chosen * factor, targets="exact", damping_decay=None, reject=False)
        there = stepped(other, problem, params)[1]
        assert reached <= float(problem.objective(there.params)) + 1e-12
    fixed = tw.kfac(chosen, targets="exact", damping_decay=None, reject=False)
    np.testing.assert_allclose(flat(stepped(fixed, problem, params)[1].params), flat(state.params), rtol=1e-10)  # fmt: skip # noqa: E501


@pytest.mark.thorough
def test_ekfac_averages_what_dense_fisher_matrices_have_on_their_diagonal():
    """s <- share s + (1 - share) diag(Q^T F Q); where Q is renewed diag(Q'^T Q diag(s) Q^T Q')."""
    problem, params = net()
    dynamics = tw.kfac(
        0.1, targets="exact", structure="eigenvalues", average=0.6, refresh=2, history=0
    )
    states = stepped(dynamics, problem, params, 6)
    layers = tw.curvature.kronecker_layers(problem.problem, params)
    unflat = jax.flatten_util.ravel_pytree(params)[1]
    numbered = jax.tree.leaves(unflat(jnp.arange(len(flat(params)), dtype=float)))
    where = [np.asarray(rows).ravel().astype(int) for rows in layers.split(numbered)]
    kept = [None] * len(where)
    for k, (before, after) in enumerate(pairwise(states)):
        F = np.asarray(tw.curvature.fisher(problem.problem, before.params).dense())
        share = min(1 - 1 / (k + 1), 0.6)
        for i, (at, (U, V), s) in enumerate(zip(where, *after.memory.shared, strict=True)):
            Q, last = np.kron(V, U), kept[i]  # rows of the weight, its columns and the bias
            factors = after.memory.factors
            if k < 3 or k % 2 == 0:
                for M, own in ((factors.inputs[i], U), (factors.outputs[i], V)):
                    rotated = own.T @ M @ own
                    np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-13)
            else:
                np.testing.assert_array_equal(Q, last[0])
            now = np.diag(Q.T @ F[np.ix_(at, at)] @ Q)
            if k:
                turn = Q.T @ last[0]
                now = share * np.diag(turn @ np.diag(last[1]) @ turn.T) + (1 - share) * now
            np.testing.assert_allclose(np.ravel(s), now, rtol=1e-9, atol=1e-13)
            kept[i] = Q, now
    g = flat(jax.grad(problem.objective)(states[-2].params))
    gamma2 = float(states[-2].memory.damping) + 0.01
    ahead = np.zeros(len(g))
    for at, (Q, s) in zip(where, kept, strict=True):
        ahead[at] = -Q @ ((Q.T @ g[at]) / (s + gamma2))
    alpha, mu = states[-1].memory.along
    step = alpha * ahead + mu * flat(states[-2].memory.last)
    np.testing.assert_allclose(flat(states[-1].memory.last), step, rtol=1e-7, atol=1e-11)


@pytest.mark.thorough
def test_an_interrupted_run_of_ekfac_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Bases and averages are in what a store keeps, also between two renewals."""
    problem, _ = net()
    dynamics = tw.kfac(0.1, structure="eigenvalues", refresh=4)
    options = {"until": 12, "records": 4, "probes": ["loss"], "progress": False}
    whole = tw.run(problem, dynamics, **options)
    record, taken = chunks.Loop.record, []

    def watched(self, states):
        record(self, states)
        taken.append(states)
        if len(taken) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(chunks.Loop, "record", watched)
        with pytest.raises(tw.Interrupted):
            tw.run(problem, dynamics, out=tmp_path / "run.zarr", **options)
    assert int(jnp.max(taken[-1].step)) % 4 != 0
    on = tw.run(problem, dynamics, out=tmp_path / "run.zarr", **options)
    for name in ("loss", "damping", "parameters"):
        np.testing.assert_array_equal(on.dataset[name], whole.dataset[name])


# ---- switches ----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_gamma_is_searched_by_the_model():
    """At a search the best of three gammas by M is kept; between searches it stays."""
    problem, params = net()
    dynamics = tw.kfac(0.5, targets="exact", gamma_decay=0.5, gamma_period=2, damping_decay=None)
    states = stepped(dynamics, problem, params, 4)
    gammas = [float(s.memory.gamma) for s in states]
    assert gammas[1] == pytest.approx(gammas[0])
    assert gammas[2] / gammas[1] in (pytest.approx(1.0), pytest.approx(0.25), pytest.approx(4.0))
    assert gammas[2] != gammas[1] or gammas[4] != gammas[3]
    assert gammas[3] == gammas[2]


@pytest.mark.thorough
def test_norm_constraint_polyak_schedules_and_kept_inverses():
    problem, params = net()
    short = tw.kfac(0.1, targets="exact", norm_constraint=1e-4, average=0.0)
    state = stepped(short, problem, params)[1]
    d = flat(state.memory.last)
    F = tw.curvature.fisher(problem.problem, params)
    assert float(d @ (F @ d) + 0.11 * d @ d) == pytest.approx(1e-4, rel=1e-9)

    xi = stepped(tw.kfac(0.1, targets="exact", polyak=0.9), problem, params, 3)
    mean = flat(params)
    for state in xi[1:]:
        mean = 0.9 * mean + 0.1 * flat(state.params)
    np.testing.assert_allclose(flat(xi[-1].memory.average), mean, rtol=1e-13)

    falling = tw.kfac(lambda k: 0.5 / (1 + k), learning_rate=lambda k: 0.1, momentum=0.0, targets="exact")  # fmt: skip # noqa: E501
    states = stepped(falling, problem, params, 3)
    assert [float(s.memory.damping) for s in states[1:]] == pytest.approx([0.5, 0.25, 0.5 / 3])
    assert [float(s.memory.along[0]) for s in states[1:]] == [0.1, 0.1, 0.1]

    kept = stepped(tw.kfac(0.1, targets="exact", refresh=100), problem, params, 5)
    shared = [jax.tree.leaves(s.memory.shared)[0] for s in kept[1:]]
    assert not np.allclose(shared[0], shared[1])
    np.testing.assert_array_equal(shared[2], shared[4])
    assert tw.kfac(structure="eigenvalues").refresh == 20
    assert tw.kfac().refresh == 1


@pytest.mark.thorough
def test_a_step_that_is_seen_to_rise_is_not_taken():
    problem, params = net()
    wild = {"learning_rate": 1e4, "momentum": 0.0, "targets": "exact", "damping_period": 1}
    kept = stepped(tw.kfac(0.1, **wild), problem, params)[1]
    np.testing.assert_array_equal(flat(kept.params), flat(params))
    assert not flat(kept.memory.last).any()
    assert float(kept.memory.damping) == pytest.approx(0.1 / 0.9)
    gone = stepped(tw.kfac(0.1, reject=False, **wild), problem, params)[1]
    assert float(problem.objective(gone.params)) > float(problem.objective(params))


@pytest.mark.thorough
def test_shares_of_the_examples():
    """Factors of ten examples spread over all, others at each step, or the model of these."""
    problem, params = net()
    n = len(problem.problem.inputs)
    half = stepped(tw.kfac(0.1, targets="exact", factor_examples=10), problem, params)[1]
    part = problem.problem.on(jnp.arange(10) * n // 10)
    expected = tw.curvature.kronecker_fisher(part, params).factors
    for a, b in zip(jax.tree.leaves(half.memory.factors), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    model = stepped(tw.kfac(0.1, targets="exact", model_examples=10, momentum=0.0), problem, params)[1]  # fmt: skip # noqa: E501
    d = flat(model.memory.last) / model.memory.along[0]
    F = tw.curvature.fisher(part, params)
    g = flat(jax.grad(problem.objective)(params))
    alpha = -float(g @ d) / float(d @ (F @ d) + 0.11 * d @ d)
    assert float(model.memory.along[0]) == pytest.approx(alpha, rel=1e-9)


def test_all_examples_have_their_turn():
    for n, few in ((6, 2), (1797, 256), (10, 9), (300, 256), (7, 3)):
        turns = -(-n // few)
        shown = [strided(n, few, jnp.asarray(step)) for step in range(turns)]
        assert all(len(set(rows.tolist())) == few for rows in shown)
        assert set(np.concatenate(shown).tolist()) == set(range(n))
        np.testing.assert_array_equal(strided(n, few, jnp.asarray(turns)), shown[0])


@pytest.mark.thorough
def test_by_default_factors_are_of_an_eighth_of_the_examples_and_of_all_in_time():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1024, 3)) * np.linspace(0.2, 3, 1024)[:, None]  # in an order that matters
    problem = tw.problems.supervised(tw.models.linear([]), (x, x[:, :1]))
    params = problem.init(KEY)
    still = {"learning_rate": 1e-12, "momentum": 0.0, "targets": "exact"}
    few = stepped(tw.kfac(0.1, **still), problem, params, 4)
    part = problem.on(strided(1024, 256, jnp.asarray(0)))
    expected = tw.curvature.kronecker_fisher(part, params).factors.inputs[0]
    np.testing.assert_allclose(few[1].memory.factors.inputs[0], expected, rtol=1e-9)
    whole = stepped(tw.kfac(0.1, factor_examples=10**6, **still), problem, params)
    truth = tw.curvature.kronecker_fisher(problem, params).factors.inputs[0]
    np.testing.assert_allclose(whole[1].memory.factors.inputs[0], truth, rtol=1e-9)
    assert np.abs(expected - truth).max() > 1e-3
    np.testing.assert_allclose(few[4].memory.factors.inputs[0], truth, rtol=1e-9)
    assert int(few[1].evaluations) < int(whole[1].evaluations)


@pytest.mark.thorough
@pytest.mark.parametrize("structure", ["diagonal", "eigenvalues"])
def test_it_maps_over_seeds_and_settings_and_runs_in_single_precision(structure):
    problem, params = net()
    dampings = jnp.array([0.01, 0.1, 1.0])

    def run(damping, key):
        dynamics = tw.kfac(damping, structure=structure)
        state = dynamics.init(problem, params)
        for k in range(3):
            state = dynamics.step(problem, state, jax.random.fold_in(key, k))[0]
        return flat(state.params)

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(run))(dampings, keys)
    for i in range(3):
        np.testing.assert_allclose(together[i], jax.jit(run)(dampings[i], keys[i]), rtol=1e-9)
    small, start = net(precision="float32")
    state = stepped(tw.kfac(structure=structure), small, start, 5)[-1]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert float(small.objective(state.params)) < float(small.objective(start))


# ---- as Optax, in batches, on other nets -------------------------------------------------------


@pytest.mark.thorough
def test_the_optax_transformation_takes_the_same_steps():
    problem, params = net()
    dynamics = tw.kfac(0.1, targets="exact")
    transform = tw.dynamics.optax_kfac(problem, dynamics)
    state, at = transform.init(params), params

    @jax.jit
    def step(at, state):
        updates, state = transform.update(jax.grad(problem.objective)(at), state, at)
        return optax.apply_updates(at, updates), state

    for _ in range(4):
        at, state = step(at, state)
    np.testing.assert_allclose(flat(at), flat(stepped(dynamics, problem, params, 4)[-1].params), rtol=1e-9)  # fmt: skip # noqa: E501
    chain = optax.chain(transform, optax.scale(0.5))  # extra arguments pass through a chain
    part = tw.problems.Decayed(problem.problem.on(jnp.arange(10)), 0.01)
    gradient = jax.grad(part.objective)(params)
    updates, _ = chain.update(gradient, chain.init(params), params, problem=part)
    alone = stepped(dynamics, part, params)[1]
    np.testing.assert_allclose(2 * flat(updates), flat(alone.params) - flat(params), rtol=1e-9)
    with pytest.raises(InputError, match="needs the parameters"):
        transform.update(gradient, transform.init(params))


@pytest.mark.thorough
def test_a_convolutional_net_in_batches():
    images = RNG.normal(size=(40, 1, 6, 6))
    labels = (images.mean((1, 2, 3)) > 0).astype(int)
    net = tw.models.ConvNet([tw.models.Convolution(3, 3)], [6], activation="tanh", bias=True)
    problem = tw.problems.supervised(net, (images, labels))
    dynamics = tw.dynamics.noisy(tw.kfac(), tw.oracles.minibatch(20))
    path = tw.run(problem, dynamics, until=30, records=1)
    losses = path.dataset["loss"].values[0]
    assert losses[-1] < 0.2 * losses[0]
    assert path.dataset["damping"].values[0, -1] > 0


@pytest.mark.thorough
@pytest.mark.parametrize("targets", ["exact", "empirical"])
def test_batches_of_a_summed_loss_take_the_steps_of_the_mean(targets):
    """n times the objective and n times the dampings: not a step differs."""
    mean, params = net(0.01)
    summed, _ = net(0.01 * len(X), reduction="sum")
    options = {"targets": targets, "damping_decay": 0.5, "damping_period": 2}
    ends = []
    for problem, damping in ((mean, 0.1), (summed, 0.1 * len(X))):
        batches = tw.dynamics.noisy(tw.kfac(damping, **options), tw.oracles.minibatch(8))
        ends.append(stepped(batches, problem, params, 4)[-1])
    assert float(jnp.linalg.norm(flat(ends[0].params) - flat(params))) > 0.1
    np.testing.assert_allclose(flat(ends[1].params), flat(ends[0].params), rtol=1e-9, atol=1e-12)


def test_batches_grow_as_the_paper_says_at_few_sizes():
    m = tw.dynamics.growing_batches(1000, 60000, whole_at=500, steps=600)
    b = 499 / np.log(60)  # the paper's: so that m_500 is all
    exact = np.minimum(1000 * np.exp(np.arange(600) / b), 60000)
    assert (m[0], m[498] == m[499], m[499], m[-1]) == (1000, True, 60000, 60000)
    assert len(set(m.tolist())) == 8
    ratio = m / exact
    assert ratio.min() > 1 - 1e-9
    assert ratio.max() < 60 ** (1 / 7) * 1.01
    assert np.all(np.diff(m) >= 0)
    assert tw.dynamics.growing_batches(5, 5, whole_at=2, steps=3).tolist() == [5, 5, 5]
    with pytest.raises(InputError, match="first came as 9, more than all 8 examples"):
        tw.dynamics.growing_batches(9, 8, whole_at=3, steps=2)
    with pytest.raises(InputError, match="whole_at came as 1; give a whole number from 2 on"):
        tw.dynamics.growing_batches(1, 8, whole_at=1, steps=2)


def test_bad_input_is_one_sentence():
    problem, params = net()
    for given, words in [
        ({"damping": -1.0}, "damping came as -1.0; give a positive number"),
        ({"momentum": 1.0}, "momentum came as 1.0"),
        ({"refresh": 0}, "refresh came as 0; give a whole number"),
        ({"structure": "tri"}, "unknown structure 'tri'"),
        ({"factor_examples": 0}, "factor_examples came as 0; give a whole number"),
    ]:
        with pytest.raises(InputError, match=words):
            tw.kfac(**given)
    bowl = tw.problems.Function(lambda p: p @ p, start=jnp.ones(2))
    with pytest.raises(InputError, match="no examples to take Kronecker factors of"):
        tw.kfac().init(bowl, bowl.start)
    own = tw.problems.supervised(tw.models.mlp([2]), (X, X[:, :1]), lambda z, y: jnp.sum((z - y) ** 4))  # fmt: skip # noqa: E501
    with pytest.raises(InputError, match="no likelihood"):
        tw.kfac().init(own, own.init(KEY))
    assert float(tree.dot(params, params)) > 0
    assert problem.problem.plain
