"""The certificate is sound, it comes, and it is what the formula says; floors and events."""

import numpy as np
import pytest
from scipy import stats

from thalweg.core.errors import InputError
from thalweg.theory.relu_nets import kink_certificate as certificates
from thalweg.theory.relu_nets.affine_floors import affine_per_ray_loss, affine_per_side_loss
from thalweg.theory.relu_nets.good_event import good_event
from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
from thalweg.theory.relu_nets.one_input import OneInputNet, he_net, one_input_data

X = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
Y = np.array([-1.0, 2.0, -1.0, 1.0, -2.0, 1.0])


def drawn(seed, width, nets, y=Y, x=X):
    rng = np.random.default_rng(seed)
    net = he_net(rng, width, (nets,))
    data = one_input_data(x, y, rng.multinomial(width**2, np.ones(6) / 6, size=nets))
    return kink_dynamics(net, data)


def by_hand(net, data, h):
    """E7 for one net, one entry after the other."""
    theta = np.stack([net.a, net.b, net.w])
    S = [theta[:, net.a * s > 0] @ theta[:, net.a * s > 0].T for s in (1, -1)]
    M = data.moments()
    values, V = np.linalg.eigh(M)
    root = V @ np.diag(np.sqrt(values)) @ V.T
    A = np.zeros((4, 4))
    for s in range(2):
        A[2 * s : 2 * s + 2, 2 * s : 2 * s + 2] = S[s][:2, :2] + S[s][2, 2] * np.eye(2)
    for i in (1, 3):
        for j in (1, 3):
            A[i, j] += 1
    rates, U = np.linalg.eigh(root @ A @ root)
    x, r = data.x, data.p * (data.y - net.outputs(data.x))
    pull = [np.sum((r * x)[x > 0]), np.sum(r[x > 0]), np.sum((r * x)[x < 0]), np.sum(r[x < 0])]
    psi, mu = np.linalg.solve(root, pull), np.max(np.abs(1 - h * rates))
    S2 = sum(h / (h * rates[k]) * abs(U[:, k] @ psi) * max(abs(U[:, k])) for k in range(4))
    wide = np.linalg.norm(root, np.inf)
    k, Q = 2 * wide * S2, np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    D = [
        k * (Q @ abs(s) + abs(s) @ Q) + 8 * k**2 * np.exp(4 * k) * np.linalg.norm(s, np.inf)
        for s in S
    ]
    D_w = max(d[2, 2] for d in D)
    D_ab = max(d[0, 0] + d[0, 1] + d[1, 1] for d in D)
    D_wab = k * max(
        abs(s[2, 0]) + abs(s[2, 1]) + d[2, 0] + d[2, 1] for s, d in zip(S, D, strict=True)
    )
    drift = 2 * h / (1 - mu) * wide**2 * (D_w + D_ab + D_wab)
    d = k * Q @ abs(theta) + 2 * k**2 * np.exp(2 * k) * np.max(abs(theta), axis=0)
    near = np.min(np.abs(x))
    margin = np.min((abs(net.a) - d[0]) * near - abs(net.b) - d[1])
    return mu < 1 and k < 0.5 and drift <= 0.5 and margin > 0, k, drift, margin


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_certificate_is_the_formula(scale):
    runs = drawn(1, 12, 20, x=scale * X)
    state = runs.advance(runs.start, 6000)
    nets = runs.net_at(state)
    found = certificates.never_crosses(nets, runs.data, runs.step_size)
    assert found.holds.any()
    assert not found.holds.all()
    for i in np.flatnonzero(~state.crossed):
        net = OneInputNet(*(v[i] for v in nets))
        holds, *numbers = by_hand(net, runs.data._replace(p=runs.data.p[i]), runs.step_size[i])
        assert found.holds[i] == holds
        mine = (found.kappa[i], found.drift[i], found.margin[i])
        np.testing.assert_allclose(mine, numbers, rtol=1e-5, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_no_certified_run_crosses_later(offset):
    runs = drawn(2, 16, 200, Y + offset)
    fates = certificates.kink_fates(runs, 16_000)
    later = runs.advance(runs.start, 60_000)
    certified = fates.fate == certificates.CERTIFIED
    assert certified.sum() > 60
    assert not np.any(certified & later.crossed)
    crossed = fates.fate == certificates.CROSSED
    np.testing.assert_array_equal(fates.steps[crossed], later.steps[crossed])
    assert np.all(later.steps[later.crossed & ~crossed] > 16_000)


def test_the_sum_of_all_later_pulls_is_bounded_by_kappa():
    """What kappa says it bounds, measured along the rest of certified runs."""
    runs = drawn(3, 16, 40)
    state = runs.advance(runs.start, 9000)
    sure = certificates.never_crosses(runs.net_at(state), runs.data, runs.step_size)
    kept = np.flatnonzero(sure.holds)
    part, total = runs.take(kept), np.zeros(kept.size)
    now = type(state)(*(v[kept] for v in state))
    assert kept.size > 5
    for _ in range(2000):
        gap = part.data.best_lines() - part.lines_at(now)
        total += part.step_size * np.max(np.abs(part.data.moments() @ gap[..., None]), axis=(1, 2))
        now = part.advance(now, 1)
    assert np.all(total <= sure.kappa[kept])
    assert np.all(total > 0)


def test_degenerate_runs_are_told_and_not_run():
    net = he_net(np.random.default_rng(0), 6, (3,))
    p = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 1]])
    one_sided = net._replace(a=np.abs(net.a))
    both = [kink_dynamics(n, one_input_data(X, Y, p)) for n in (net, one_sided)]
    fates = [certificates.kink_fates(runs, 10, every=10).fate for runs in both]
    assert (fates[0] == certificates.DEGENERATE).tolist() == [False, True, True]
    assert np.all(fates[1] == certificates.DEGENERATE)


def test_what_the_certificate_does_not_cover_is_refused():
    runs = drawn(1, 6, 2)
    with pytest.raises(InputError, match="ReLU alone"):
        certificates.kink_fates(runs._replace(leak=0.1), 10)
    low = OneInputNet(*(np.asarray(v, np.float32) for v in runs.net))
    with pytest.raises(InputError, match="float64"):
        certificates.never_crosses(low, runs.data, runs.step_size)


def test_the_floor_of_a_side_is_that_of_two_regressions():
    rng = np.random.default_rng(4)
    x, y, p = rng.normal(size=30) + 0.01, rng.normal(size=30), rng.uniform(size=30)
    total = 0.0
    for own in (x > 0, x < 0):
        line = np.polynomial.Polynomial.fit(x[own], y[own], 1, w=np.sqrt(p[own]))
        total += np.sum(p[own] * (y[own] - line(x[own])) ** 2)
    assert affine_per_side_loss(x, y, p) == pytest.approx(total / (2 * p.sum()), rel=1e-12)
    data = one_input_data(x, y, p)
    v = data.best_lines()
    fit = np.where(x > 0, v[0] * x + v[1], v[2] * x + v[3])
    floor = 0.5 * np.sum(data.p * (y - fit) ** 2)
    assert affine_per_side_loss(x, y, p) == pytest.approx(floor, rel=1e-12)


def test_the_floor_of_the_star_is_one():
    angles = 2 * np.pi * np.arange(11) / 11
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = np.concatenate([r * units for r in (0.9, 1.0, 1.1)])
    y = np.repeat([1.0, -2.0, 1.0], 11)
    assert affine_per_ray_loss(x, y) == pytest.approx(1.0, abs=1e-14)
    assert affine_per_ray_loss(x[:11], y[:11]) == pytest.approx(0.0, abs=1e-14)


def test_the_event_has_its_frequencies():
    """Each condition against the law of its own: extremes of normal draws, chi-squared sums."""
    rng, n, draws, gamma = np.random.default_rng(5), 32, 4000, 0.25
    nets = he_net(rng, n, (draws,))
    counts = rng.multinomial(n**2, np.ones(6) / 6, size=draws)
    held = good_event(nets, one_input_data(X, Y, counts), one_input_data(X, Y), n**2, gamma)
    eps, normal = 0.25 - gamma / 2, stats.norm(scale=np.sqrt(2))
    expected = {
        "min |a|": (2 * normal.sf(n ** (-1 - gamma))) ** n,
        "max |a|": (1 - 2 * normal.sf(n**eps)) ** n,
        "max |w|": (1 - 2 * normal.sf(n**eps)) ** n,
    }
    for name, share in expected.items():
        assert abs(held[name].mean() - share) < 4 * np.sqrt(share * (1 - share) / draws) + 1e-9
    every = np.all([held[name] for name in held if name != "all"], axis=0)
    np.testing.assert_array_equal(every, held["all"])
    with pytest.raises(InputError, match="between 0 and 1/2"):
        good_event(nets, one_input_data(X, Y), one_input_data(X, Y), 9, 0.5)
