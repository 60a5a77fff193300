"""The reduced dynamics against the full net, unit by unit; what follows from them."""

import jax
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.driver.path import paths
from thalweg.theory.relu_nets import kink_dynamics as reduced
from thalweg.theory.relu_nets import one_input
from thalweg.theory.relu_nets.one_input import OneInputNet

X = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
Y = np.array([-1.0, 2.0, -1.0, 1.0, -2.0, 1.0])


def drawn(seed, width, nets, x=X, y=Y):
    rng = np.random.default_rng(seed)
    net = one_input.he_net(rng, width, (nets,))
    counts = rng.multinomial(width**2, np.ones(len(x)) / len(x), size=nets)
    return net, one_input.one_input_data(x, y, counts)


def descend(net, data, h, steps, leak=0.0):
    """The full nets in NumPy, stopped with the step by which a kink crosses, and when that is."""
    a, b, w, c = (np.array(v) for v in net)
    x, count, crossed = data.x, np.zeros(len(c), int), np.zeros(len(c), bool)
    for _ in range(steps):
        z = a[:, None] * x[:, None] + b[:, None]
        slope = np.where(z > 0, 1.0, leak)
        r = data.p * (np.einsum("rji,ri->rj", slope * z, w) + c[:, None] - data.y)
        pull = r[..., None] * slope
        da, db = w * np.sum(pull * x[:, None], axis=1), w * np.sum(pull, axis=1)
        dw = np.einsum("rj,rji->ri", r, slope * z)
        go = h * ~crossed
        a, b, w = a - go[:, None] * da, b - go[:, None] * db, w - go[:, None] * dw
        c, count = c - go * r.sum(1), count + ~crossed
        crossed |= np.max(np.abs(b / a), axis=1) >= np.min(np.abs(x))
    return OneInputNet(a, b, w, c), count, crossed


@pytest.mark.parametrize("leak", [0.0, 0.3, -0.5])
def test_every_unit_moves_as_in_the_full_net(leak):
    net, data = drawn(0, 24, 12)
    runs = reduced.kink_dynamics(net, data, leak=leak)
    end = runs.advance(runs.start, 200)
    full, count, crossed = descend(net, data, runs.step_size, 200, leak)
    for mine, theirs in zip(runs.net_at(end), full, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(end.crossed, crossed)
    np.testing.assert_array_equal(end.steps, count)
    kept = np.isfinite(runs.reach(end))
    assert not crossed.all()
    assert crossed.any() or leak
    np.testing.assert_allclose(runs.reach(end)[kept], full.reach()[kept], rtol=1e-11)
    v = runs.lines_at(end)[~crossed]
    outputs = full.outputs(X, leak)[~crossed]
    np.testing.assert_allclose(v[:, :1] * X[3:] + v[:, 1:2], outputs[:, 3:], atol=1e-12)
    np.testing.assert_allclose(v[:, 2:3] * X[:3] + v[:, 3:], outputs[:, :3], atol=1e-12)


def test_repeated_examples_are_weights_of_the_library_net():
    """A net of the library on 24 rows, of which some are equal, unequally many on the sides."""
    counts = np.array([1, 7, 4, 5, 2, 5])
    x, y = np.repeat(X, counts)[:, None] * 2.0, np.repeat(Y, counts)[:, None]
    problem = tw.problems.supervised(tw.models.mlp([24], "relu", initialiser="he-normal"), (x, y))
    params = problem.init(jax.random.key(1))
    net = one_input.one_input_net(params)
    runs = reduced.kink_dynamics(net, one_input.one_input_data(2 * X, Y, counts))
    end = runs.advance(runs.start, 300)
    assert not end.crossed
    found = paths(tw.gradient_descent(float(runs.step_size)), problem, params, 100, 3, over=[])
    last = one_input.one_input_net(jax.tree.map(lambda v: v[-1], found.seen))
    for mine, theirs in zip(runs.net_at(end), last, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    floor = float(problem.objective(found.last.params)) - float(runs.excess_loss(end))
    lines = runs.data.best_lines()
    fit = np.where(X > 0, lines[0] * 2 * X + lines[1], lines[2] * 2 * X + lines[3])
    assert floor == pytest.approx(0.5 * np.average((Y - fit) ** 2, weights=counts), rel=1e-11)


def test_the_farthest_kink_has_an_extreme_ratio():
    net, data = drawn(4, 1000, 3)
    runs = reduced.kink_dynamics(net, data)
    for steps in (1, 50, 2000):
        state = runs.advance(runs.start, steps)
        kept = ~state.crossed
        assert kept.any()
        np.testing.assert_allclose(
            runs.reach(state)[kept], runs.net_at(state).reach()[kept], rtol=1e-9
        )


def test_steps_come_in_any_portions():
    net, data = drawn(5, 16, 40)
    runs = reduced.kink_dynamics(net, data)
    once = runs.advance(runs.start, 1000)
    twice = runs.advance(runs.advance(runs.start, 377), 623)
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_array_equal(one, two)
    part = runs.take(np.array([3, 8])).advance(runs.take(np.array([3, 8])).start, 1000)
    np.testing.assert_array_equal(part.c, once.c[[3, 8]])


def test_a_side_without_units_has_no_kink():
    net = OneInputNet(np.array([1.0, 2.0]), np.zeros(2), np.array([3.0, -4.0]), np.zeros(()))
    runs = reduced.kink_dynamics(net, one_input.one_input_data(X, Y + 1), step_size=0.01)
    end = runs.advance(runs.start, 5)
    full, *_ = descend(
        OneInputNet(*(v[None] for v in net)), runs.data._replace(p=runs.data.p[None]), 0.01, 5
    )
    assert not end.crossed
    np.testing.assert_allclose(runs.net_at(end).b, full.b[0], atol=1e-14)
    assert runs.reach(end) == pytest.approx(full.reach()[0])


def test_the_reference_matrix_predicts_the_next_lines():
    """To first order in h; the rest falls as h^2, with a leak as without."""
    net, data = drawn(6, 12, 1)
    for leak in (0.0, 0.4):
        sigma = one_input.second_moments(net)
        v = one_input.two_lines(sigma, net.c, leak)
        A, M = one_input.reference_matrix(sigma, leak), data.moments()
        rest = []
        for h in (1e-4, 1e-5):
            runs = reduced.kink_dynamics(net, data, np.array([h]), leak)
            moved = runs.lines_at(runs.advance(runs.start, 1)) - data.best_lines()
            gap = v - data.best_lines()
            rest.append(np.abs(moved - gap + h * (A @ M @ gap[..., None])[..., 0]).max())
        assert rest[0] / rest[1] == pytest.approx(100, rel=0.01)


def test_the_step_size_is_that_of_the_gauss_newton_matrix():
    """lambda_max(A M) is that of sum p grad f grad f^T in all parameters."""
    net, data = drawn(7, 10, 1)
    one = OneInputNet(*(v[0] for v in net))
    active = (one.a * data.x[:, None]) > 0
    gradients = np.concatenate(
        [active * one.w * data.x[:, None], active * one.w, active * one.a * data.x[:, None],
         np.ones((6, 1))], axis=1,
    )  # fmt: skip
    most = np.linalg.eigvalsh((gradients * data.p[0][:, None]).T @ gradients)[-1]
    assert one_input.largest_step_size(net, data)[0] == pytest.approx(1 / most, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: one_input.one_input_data([0.0, 1.0], [1.0, 2.0]), "a kink starts at 0"),
        (lambda: one_input.one_input_data([1.0, 2.0], [1.0]), "one number each"),
        (lambda: one_input.one_input_data([1.0], [1.0], [-1.0]), "at least 0"),
        (lambda: one_input.one_input_net([{"weight": np.ones((2, 2))}]), "of one input"),
        (
            lambda: reduced.kink_dynamics(
                OneInputNet(*np.ones((3, 4)), np.zeros(())), one_input.one_input_data(X, Y)
            ),
            "zero hidden biases",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()
