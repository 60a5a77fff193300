"""PyTorch loops: curvature against dense Hessians, optimisers against their own steps."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import thalweg as tw

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'thalweg[torch]'"
)
nn = torch.nn

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

RNG = np.random.default_rng(0)
X = torch.as_tensor(RNG.normal(size=(20, 4)), dtype=torch.float32)
LABELS = torch.as_tensor(RNG.integers(0, 3, 20))
Y = torch.as_tensor(RNG.normal(size=(20, 3)), dtype=torch.float32)
ALL = ["loss", "gradient_norm", "sharpness", "smallest_eigenvalue"]
ENTROPY = nn.CrossEntropyLoss()


def plain():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))


def normalised():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def made(make):
    torch.manual_seed(0)
    return make()


def dense(net, loss, x, y):
    """Loss, gradient and Hessian of a net as it stands, by PyTorch alone, in order of names."""
    net = copy.deepcopy(net).double()
    loss = copy.deepcopy(loss).double() if isinstance(loss, nn.Module) else loss
    x, y = (v.double() if v.is_floating_point() else v for v in (x, y))
    weights = {n: p for n, p in net.named_parameters() if p.requires_grad}
    names = sorted(weights)
    flat = torch.cat([weights[n].detach().reshape(-1) for n in names])

    def objective(theta):
        parts, begin = {}, 0
        for n in names:
            size = weights[n].numel()
            parts[n] = theta[begin : begin + size].reshape(weights[n].shape)
            begin += size
        return loss(torch.func.functional_call(net, parts, (x,)), y)

    gradient = torch.func.grad(objective)(flat).numpy()
    hessian = torch.autograd.functional.hessian(objective, flat).numpy()
    return float(objective(flat)), gradient, hessian


def step(net, optimiser, training=True):
    net.train(training)
    optimiser.zero_grad()
    ENTROPY(net(X), LABELS).backward()
    optimiser.step()


def holds(reading, truth, below=False, noise=1e-9):
    """Whether the true value lies where a reading says that it does."""
    value, error, code = (np.asarray(part) for part in reading)
    assert code == tw.Result.OK
    ends = (value - error, value) if below else (value, value + error)
    assert ends[0] - noise <= truth <= ends[1] + noise


def test_a_loop_is_followed_and_left_alone():
    net = made(plain)
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    track = tw.torch.Tracker(net, ENTROPY, quantities=ALL, precision="float64")
    for _ in range(3):
        before = [p.detach().clone() for p in net.parameters()], torch.get_rng_state()
        record = track.measure((X, LABELS))
        for p, old in zip(net.parameters(), before[0], strict=True):
            assert torch.equal(p, old)
        assert torch.equal(torch.get_rng_state(), before[1])
        assert record.by == "PyTorch's double backward"
        assert net.training
        value, gradient, hessian = dense(copy.deepcopy(net).eval(), ENTROPY, X, LABELS)
        spectrum = np.linalg.eigvalsh(hessian)
        holds(record["sharpness"], spectrum[-1])
        holds(record["smallest_eigenvalue"], spectrum[0], below=True)
        assert record["loss"].value == pytest.approx(value, rel=1e-10)
        assert record["gradient_norm"].value == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
        assert record.gradients == 1
        assert 2 <= record.products <= 43
        assert 0 < record.seconds < 600
        assert record.threshold is None
        step(net, optimiser)
    assert "sharpness" in str(record)


@pytest.mark.parametrize("training", [False, True])
def test_batch_normalisation_as_in_evaluation_and_as_in_training(training):
    net = made(normalised)
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    track = tw.torch.Tracker(net, ENTROPY, training=training, precision="float64")
    for _ in range(2):
        step(net, optimiser)  # running averages move, too
        averages = net[1].running_mean.clone()
        record = track.measure((X, LABELS))
        assert net.training
        assert torch.equal(net[1].running_mean, averages)
        still = copy.deepcopy(net).train(training)
        if training:  # without averages kept, which functional calls may not write
            still[1].track_running_stats, still[1].running_mean = False, None
            still[1].running_var = None
        value, _, hessian = dense(still, ENTROPY, X, LABELS)
        assert record["loss"].value == pytest.approx(value, rel=1e-10)
        holds(record["sharpness"], np.linalg.eigvalsh(hessian)[-1])


LOSSES = {
    "mse": (nn.MSELoss(), Y),
    "weighted": (
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1), LABELS
    ),
    "soft labels": (ENTROPY, torch.softmax(Y, 1)),
    "logits": (nn.BCEWithLogitsLoss(), torch.sigmoid(Y)),
    "huber": (nn.HuberLoss(), Y),
    "of one's own": (lambda out, y: ((out - y) ** 4).sum(1).mean(), Y),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, y = LOSSES[name]
    net = made(plain).eval()
    record = tw.torch.Tracker(net, loss, precision="float64").measure((X, y))
    value, _, hessian = dense(net, loss, X, y)
    assert record["loss"].value == pytest.approx(value, rel=1e-10)
    holds(record["sharpness"], np.linalg.eigvalsh(hessian)[-1])


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.03),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, 0.1, momentum=0.5, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=0.03),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-2, betas=(0.8, 0.99), amsgrad=True, eps=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.5),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.3, eps=1e-3),
    "centered": lambda p: torch.optim.RMSprop(p, 1e-2, centered=True, eps=1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2, lr_decay=0.1),
    "groups": lambda p: torch.optim.SGD([{"params": p[:2]}, {"params": p[2:], "lr": 0.3}], 0.1),
}


def lasting(net, optimiser, slopes, steps):
    """Where constant gradients lead in a step, divided by them: by the optimiser itself.

    Its squares and its count are set before every step to what they were before its last one, but
    for these gradients, which are too small to tell.
    """
    optimiser = copy.deepcopy(optimiser)
    weights, before = [], {}
    for group in optimiser.param_groups:
        group["weight_decay"] = 0.0
        fade = {
            "exp_avg_sq": group.get("betas", (0, 1))[1],
            "square_avg": group.get("alpha", 1),
            "grad_avg": group.get("alpha", 1),
        }
        for p in group["params"]:
            weights.append(p)
            state = optimiser.state[p]
            before[p] = {k: state[k] / f for k, f in fade.items() if k in state}
            before[p] |= {k: state[k].clone() for k in ("max_exp_avg_sq", "sum") if k in state}
            before[p] |= {"step": state["step"] - 1} if "step" in state else {}
    moved = []
    for _ in range(steps):
        old = [p.detach().clone() for p in weights]
        for p, g in zip(weights, slopes, strict=True):
            p.grad = g.clone()
            optimiser.state[p].update({k: v.clone() for k, v in before[p].items()})
        optimiser.step()
        moved = [b - p.detach() for b, p in zip(old, weights, strict=True)]
    rate = optimiser.param_groups[0]["lr"]
    return [m / g / rate for m, g in zip(moved, slopes, strict=True)]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_gains_are_where_the_optimiser_itself_leads(name):
    from thalweg.torch.optimisers import preconditioner

    net = made(plain).double()
    weights = list(net.parameters())
    optimiser = OPTIMISERS[name](weights)
    for _ in range(3):
        optimiser.zero_grad()
        ENTROPY(net.eval()(X.double()), LABELS).backward()
        optimiser.step()
    names = {id(p): n for n, p in net.named_parameters()}
    found = preconditioner(optimiser, names)
    slopes = [torch.full_like(p, 1e-7) for p in weights]  # too small to change squares
    truth = lasting(net, optimiser, slopes, 400)
    for p, wanted in zip(weights, truth, strict=True):
        mine = found.gains[names[id(p)]]
        np.testing.assert_allclose(mine, wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_preconditioned_sharpness_is_that_of_the_dense_matrix(name):
    net = made(plain)
    weights = list(net.parameters())
    optimiser = OPTIMISERS[name](weights)
    track = tw.torch.Tracker(net, ENTROPY, optimiser, "loss", precision="float64")
    first = track.measure((X, LABELS))["preconditioned_sharpness"]
    known_at_once = isinstance(optimiser, torch.optim.SGD)
    assert (first.result == tw.Result.OK) == known_at_once
    for _ in range(3):
        step(net, optimiser)
    record = track.measure((X, LABELS))
    _, _, hessian = dense(net.eval(), ENTROPY, X, LABELS)
    names = sorted(n for n, _ in net.named_parameters())
    by_name = dict(net.named_parameters())
    gains, decay, shrink = [], [], []
    for n in names:
        p = by_name[n]
        group = next(g for g in optimiser.param_groups if any(p is q for q in g["params"]))
        state = {k: v.double() for k, v in optimiser.state[p].items() if torch.is_tensor(v)}
        gains.append(
            (
                by_hand(name, group, state, p) * group["lr"] / optimiser.param_groups[0]["lr"]
            ).reshape(-1)
        )
        apart = name == "adamw"
        decay += [0.0 if apart else group["weight_decay"]] * p.numel()
        shrink += [group["weight_decay"] if apart else 0.0] * p.numel()
    root = np.sqrt(torch.cat(gains).numpy())
    matrix = root[:, None] * (hessian + np.diag(decay)) * root + np.diag(shrink)
    holds(record["preconditioned_sharpness"], np.linalg.eigvalsh(matrix)[-1])
    beta = {"momentum": 0.9, "dampened": 0.5, "adam": 0.9, "amsgrad": 0.8, "adamw": 0.9,
            "rmsprop": 0.3}.get(name, 0.0)  # fmt: skip
    rate = optimiser.param_groups[0]["lr"]
    wanted = 2 / rate * (1 + beta) / (1 - beta)
    if name == "nesterov":
        wanted = 2 / rate * 1.8 / (0.2 * 2.6)
    assert record.threshold == pytest.approx(wanted)


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.0, 0.1), (0.1, 0.0)])
def test_a_schedule_that_ends_at_zero_hides_nothing(rates):
    """A cosine schedule ends at 0: the metric stays, and what does not move has no part in it."""
    net = made(plain)
    first, second = (list(part.parameters()) for part in (net[0], net[3]))
    optimiser = torch.optim.Adam([{"params": first}, {"params": second}], lr=0.1)
    track = tw.torch.Tracker(net, ENTROPY, optimiser, "loss", precision="float64")
    for _ in range(3):
        step(net, optimiser)
    whole = track.measure((X, LABELS))
    assert f"of {whole.threshold:.6g} that are stable" in str(whole)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    ended = track.measure((X, LABELS))
    moving = [*first, *second] if not any(rates) else first if rates[0] else second
    _, _, hessian = dense(net.eval(), ENTROPY, X, LABELS)
    by_name = dict(net.named_parameters())
    gains = []
    for name in sorted(by_name):
        p = by_name[name]
        moved = any(p is q for q in moving)
        state = {k: v.double() for k, v in optimiser.state[p].items() if torch.is_tensor(v)}
        gain = by_hand("adam", optimiser.param_groups[0], state, p)
        gains.append((gain if moved else torch.zeros_like(gain)).reshape(-1))
    root = np.sqrt(torch.cat(gains).numpy())
    truth = np.linalg.eigvalsh(root[:, None] * hessian * root)[-1]
    holds(ended["preconditioned_sharpness"], truth)
    assert ended.threshold == (pytest.approx(whole.threshold) if any(rates) else np.inf)


def by_hand(name, group, state, p):
    """1/D from the formulas of PyTorch's manual."""
    one = torch.ones_like(p, dtype=torch.float64)
    if name in ("adam", "adamw", "amsgrad"):
        v = state["max_exp_avg_sq" if name == "amsgrad" else "exp_avg_sq"]
        first, second = (1 - beta**3 for beta in group["betas"])
        return 1 / ((v / second).sqrt() + group["eps"]) / first
    if name == "rmsprop":
        return 1 / (state["square_avg"].sqrt() + group["eps"]) / 0.7
    if name == "centered":
        v = state["square_avg"] - state["grad_avg"] ** 2
        return 1 / (v.sqrt() + group["eps"])
    if name == "adagrad":
        return 1 / (state["sum"].sqrt() + group["eps"]) / 1.2
    return one * {"momentum": 10.0, "nesterov": 5.0}.get(name, 1.0)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)], ids=str
)
def test_thresholds_are_where_a_quadratic_diverges(momentum, nesterov):
    """Below the threshold the optimiser itself converges, above it diverges."""
    for factor, grows in ((0.99, False), (1.01, True)):
        net = nn.Linear(1, 1, bias=False).double()
        optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum, nesterov=nesterov)

        def loss(out, y):
            return curvature * (out**2).sum() / 2  # noqa: B023

        curvature = 1.0
        track = tw.torch.Tracker(net, loss, optimiser, "sharpness", precision="float64")
        one = torch.ones(1, 1)
        record = track.measure((torch.cat([one, 0 * one]), torch.zeros(2, 1)))
        ratio = float(record["preconditioned_sharpness"].value / record["sharpness"].value)
        curvature = factor * record.threshold / ratio
        with torch.no_grad():
            net.weight.fill_(1.0)
        for _ in range(4000):
            optimiser.zero_grad()
            loss(net(one.double()), 0).backward()
            optimiser.step()
            if not 1e-6 < abs(float(net.weight.detach())) < 1e6:
                break
        assert (abs(float(net.weight.detach())) > 1) == grows


def test_a_record_says_what_was_only_followed():
    torch.manual_seed(0)
    net = nn.Linear(40, 7)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    batch = torch.randn(30, 40), torch.randn(30, 7)
    track = tw.torch.Tracker(net, nn.MSELoss(), optimiser, ALL)
    told = []
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.mse_loss(net(batch[0]), batch[1]).backward()
        optimiser.step()
        record = track.measure(batch)
        told.append((record.unbounded, "of what is followed" in str(record)))
    ends = ("sharpness", "smallest_eigenvalue", "preconditioned_sharpness")
    assert told == [((), False), (ends, True), (ends, True)]
    assert track.measure(batch).products < 12


def test_single_precision_knows_its_error():
    net = made(plain).eval()
    track = tw.torch.Tracker(net, nn.MSELoss(), quantities=ALL)
    record = track.measure((X, Y))
    assert track.copy.dtype == torch.float32
    assert 0 < track.found.rounding < 1e-5
    _, _, hessian = dense(net, nn.MSELoss(), X, Y)
    spectrum = np.linalg.eigvalsh(hessian)
    noise = 1e-5 * spectrum[-1]
    holds(record["sharpness"], spectrum[-1], noise=noise)
    holds(record["smallest_eigenvalue"], spectrum[0], below=True, noise=noise)


def test_other_batches():
    net = made(plain).eval()
    track = tw.torch.Tracker(net, ENTROPY, quantities="loss")
    for count in (20, 7, 1):
        record = track.measure((X[:count], LABELS[:count]))
        assert record["loss"].value == pytest.approx(
            float(ENTROPY(net(X[:count]), LABELS[:count]).detach()), rel=1e-5
        )
    assert record.products == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda n: tw.torch.Tracker(3, ENTROPY), "net came as 3; give a PyTorch module"),
        (lambda n: tw.torch.Tracker(n, nn.MSELoss), "loss came as the class"),
        (lambda n: tw.torch.Tracker(n, ENTROPY, 0.1), "optimizer came as 0.1"),
        (lambda n: tw.torch.Tracker(n, ENTROPY, quantities="sharpnes"), "Did you mean 'sharpness'"),
        (lambda n: tw.torch.Tracker(n, ENTROPY, precision="half"), "unknown precision 'half'"),
        (lambda n: tw.torch.Tracker(n, ENTROPY, recheck=0), "recheck came as 0; give at least 1"),
        (
            lambda n: tw.torch.Tracker(n, ENTROPY, torch.optim.Rprop(n.parameters())),
            "preconditioner of Rprop is not known; known are SGD, Adam, AdamW, RMSprop, Adagrad",
        ),
        (
            lambda n: tw.torch.Tracker(n, ENTROPY, torch.optim.SGD(plain().parameters(), 0.1)),
            "moves none of the module's weights",
        ),
        (
            lambda n: tw.torch.Tracker(
                n, ENTROPY, torch.optim.SGD(n.parameters(), 0.1, maximize=True)
            ),
            "maximises",
        ),
        (lambda n: tw.torch.Tracker(n, ENTROPY).measure(X), "give inputs and targets"),
        (lambda n: tw.torch.Tracker(n, ENTROPY).measure((X[:, :2], LABELS)), "does not take this"),
        (
            lambda n: tw.torch.Tracker(n, nn.MSELoss(reduction="none")).measure((X, Y)),
            "let it give one real number",
        ),
        (
            lambda n: tw.torch.Tracker(n.requires_grad_(False), ENTROPY),
            "no parameter that requires a gradient",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(call, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        call(plain())
