"""Hessians by PyTorch alone: dense ones, the road through JAX, and what must be refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.hessian_product import dense_hessian, hessian_product

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'thalweg[torch]'"
)
nn = torch.nn

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

RNG = np.random.default_rng(0)
POINTS, IMAGES, WORDS = (
    torch.as_tensor(RNG.normal(size=shape)) for shape in ((12, 4), (12, 1, 6, 6), (12, 5, 4))
)
LABELS = torch.as_tensor(RNG.integers(0, 3, 12))
ENTROPY = nn.CrossEntropyLoss()
BY_DIFFERENCES = 1e-6
ENDS = ["sharpness", "smallest_eigenvalue"]


class Own(nn.Module):
    """A module from layers and a function of them and a batch."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def chosen(m, x):
    """A way that depends on values, which no exporter can follow."""
    y = m.a(x)
    while float(y.detach().abs().sum()) < 100:
        y = 2 * y
    return m.b(torch.tanh(y))


NETS = {
    "MLP": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), POINTS),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(12, 3),
        ), IMAGES),
    "LSTM": (
        lambda: Own(
            lambda m, x: m.out(m.layer(x)[0][:, -1]),
            layer=nn.LSTM(4, 3, batch_first=True), out=nn.Linear(3, 3),
        ), WORDS),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), nn.Flatten(), nn.Linear(20, 3)
        ), WORDS),
    "values choose": (lambda: Own(chosen, a=nn.Linear(4, 5), b=nn.Linear(5, 3)), POINTS),
    "frozen": (
        lambda: nn.Sequential(nn.Linear(4, 6).requires_grad_(False), nn.ReLU(), nn.Linear(6, 3)),
        POINTS),
}  # fmt: skip


def of(name):
    torch.manual_seed(0)
    make, x = NETS[name]
    return make().double().eval(), x


def dense(net, x, loss=ENTROPY, y=LABELS):
    """The Hessian by derivatives of `torch.func`, which shares nothing with ours but PyTorch."""
    weights = {n: p.detach() for n, p in net.named_parameters() if p.requires_grad}

    def objective(*parts):
        given = dict(zip(weights, parts, strict=True))
        return loss(torch.func.functional_call(net, given, (x,)), y)

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        blocks = torch.autograd.functional.hessian(objective, tuple(weights.values()))
    sizes = [p.numel() for p in weights.values()]
    rows = [
        torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], 1)
        for row, n in zip(blocks, sizes, strict=True)
    ]
    return torch.cat(rows).numpy()


def covered(record, matrix, noise=1e-12):
    """Whether the true ends lie where a record says, up to rounding relative to the largest."""
    spectrum = np.linalg.eigvalsh(matrix)
    for name, true in zip(ENDS, (spectrum[-1], spectrum[0]), strict=True):
        value, error, code = (float(part) for part in record[name])
        assert code == tw.Result.OK
        low, high = (value, value + error) if name == "sharpness" else (value - error, value)
        scale = np.abs(spectrum).max()
        assert low - noise * scale <= true <= high + noise * scale
        assert error <= (1.01e-2 + noise) * scale


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_errors_cover_the_dense_spectrum_along_a_run(name, precision, monkeypatch):
    monkeypatch.setattr("thalweg.torch.extremes.SMALL", 0)  # else every record were a recheck
    net, x = of(name)
    weights = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(weights, 0.05, momentum=0.5)
    track = tw.torch.Tracker(net, ENTROPY, quantities=ENDS, precision=precision)
    products = []
    for _ in range(4):
        record = track.measure((x, LABELS))
        covered(record, dense(net, x), 1e-12 if precision == "float64" else 1e-5)
        products.append(record.products)
        optimiser.zero_grad()
        ENTROPY(net(x), LABELS).backward()
        optimiser.step()
    assert not track.found.wrong
    assert min(products[1:]) <= products[0] / 2  # the vectors of the last record serve


@pytest.mark.parametrize("name", ["MLP", "conv", "LSTM", "transformer"])
def test_products_are_those_of_the_road_through_jax(name):
    net, x = of(name)
    track = tw.torch.Tracker(net, ENTROPY)
    track.measure((x, LABELS))
    model = tw.models.from_torch(net, x.numpy())
    params = {n: jnp.asarray(p.detach().numpy()) for n, p in net.named_parameters()}

    def objective(params):
        log = jax.nn.log_softmax(model.apply(params, jnp.asarray(x.numpy())))
        return -jnp.mean(log[jnp.arange(12), jnp.asarray(LABELS.numpy())])

    names = list(params)
    v = {n: RNG.normal(size=params[n].shape) for n in names}
    ours = track.copy
    ours.load(net, (x, LABELS))
    ours.linearise(again=True)
    mine = ours.product(torch.as_tensor(np.concatenate([v[n].ravel() for n in names]))).numpy()
    flat, unravel = jax.flatten_util.ravel_pytree({n: jnp.asarray(v[n]) for n in names})
    other = unravel(hessian_product(objective, params)(flat))
    other = np.concatenate([np.asarray(other[n]).ravel() for n in names])
    np.testing.assert_allclose(mine, other, atol=1e-12 * np.abs(other).max())


class Twisted(torch.autograd.Function):
    """The square, whose slope PyTorch is told to hold for constant: a wrong double backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * slope


class Right(Twisted):
    """The same without the fault."""

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return 2 * x * slope


class Square(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def squared(function):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 5), Square(function)),
        nn.Linear(5, 3),
    ).double()  # fmt: skip


def test_a_wrong_double_backward_is_seen_named_and_gone_round():
    net = squared(Twisted)
    record = tw.torch.Tracker(net, ENTROPY, quantities=ENDS).measure((POINTS, LABELS))
    assert "the layer 2.1 (Square)" in record.by
    assert "differences" in record.by
    covered(record, dense(squared(Right), POINTS), BY_DIFFERENCES)
    plain = tw.torch.Tracker(squared(Right), ENTROPY, quantities=ENDS)
    assert plain.measure((POINTS, LABELS)).by == "PyTorch's double backward"


def test_without_the_check_the_wrong_number_would_be_told(monkeypatch):
    """What the check is for: the same net, checked by nothing, is off by more than its error."""
    from thalweg.torch import check, tracker

    monkeypatch.setattr(tracker, "verdict", lambda *_: check.Verdict("", 0.0))
    record = tw.torch.Tracker(squared(Twisted), ENTROPY, quantities=ENDS).measure((POINTS, LABELS))
    with pytest.raises(AssertionError):
        covered(record, dense(squared(Right), POINTS))


def test_weight_norm_is_measured_by_differences_where_pytorch_is_wrong():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    ).double()
    record = tw.torch.Tracker(net, ENTROPY, quantities=ENDS).measure((POINTS, LABELS))
    if record.by != "PyTorch's double backward":  # as long as PyTorch has not mended it
        assert "the layer 2.parametrizations.weight" in record.by
    problem = tw.problems.supervised(net, (POINTS.numpy(), LABELS.numpy()), loss="cross_entropy")
    start = problem.init(jax.random.key(0))
    covered(record, dense_hessian(problem.objective, start), BY_DIFFERENCES)


def test_a_layer_without_a_second_derivative_is_measured():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Hardsigmoid(), nn.Linear(5, 3)).double()
    record = tw.torch.Tracker(net, ENTROPY, quantities=ENDS).measure((POINTS, LABELS))
    assert "the layer 1 (Hardsigmoid) has no second derivative" in record.by
    torch.manual_seed(0)
    twin = nn.Sequential(
        nn.Linear(4, 5), Own(lambda _, x: torch.clamp(x / 6 + 0.5, 0, 1)), nn.Linear(5, 3)
    ).double()
    covered(record, dense(twin, POINTS), BY_DIFFERENCES)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Own(lambda _, x: nn.functional.dropout(x, 0.5, training=True)), "1 (Own)"),
        (nn.RReLU().train(), "1 (RReLU)"),
    ],
)
def test_what_draws_random_numbers_is_refused_by_name(layer, name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), layer, nn.Linear(5, 3))
    with pytest.raises(tw.InputError, match="draws random numbers") as refusal:
        tw.torch.Tracker(net, ENTROPY, training=True).measure((POINTS, LABELS))
    assert f"the layer {name}" in str(refusal.value)


def test_kinks_raise_no_alarm():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 1000), nn.ReLU(), nn.Linear(1000, 50), nn.ReLU(),
        nn.Linear(50, 3))  # fmt: skip
    track = tw.torch.Tracker(net, ENTROPY, quantities="sharpness")
    assert track.measure((POINTS, LABELS)).by == "PyTorch's double backward"


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_one_sharpness_and_a_compiled_module():
    net, x = of("MLP")
    compiled = torch.compile(net)  # nothing is compiled before a call
    value, error, code = tw.torch.sharpness(compiled, ENTROPY, (x, LABELS), tolerance=1e-3)
    top = np.linalg.eigvalsh(dense(net, x))[-1]
    assert code == tw.Result.OK
    assert value - 1e-12 <= top <= value + error <= 1.001 * top + 1e-12


def test_half_precision_and_arrays():
    x = POINTS
    half = of("MLP")[0].bfloat16()
    rounded = of("MLP")[0].bfloat16().double()
    record = tw.torch.Tracker(half, ENTROPY, quantities=ENDS).measure((x.numpy(), LABELS.numpy()))
    covered(record, dense(rounded, x), 1e-5)
    assert next(half.parameters()).dtype == torch.bfloat16


def test_a_divergence_is_told_and_survived():
    net, x = of("MLP")
    track = tw.torch.Tracker(net, ENTROPY, quantities=ENDS)
    track.measure((x, LABELS))
    good = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        net[0].weight.fill_(float("nan"))
    record = track.measure((x, LABELS))
    assert all(record[name].result == tw.Result.NONFINITE for name in ENDS)
    with torch.no_grad():
        for p, old in zip(net.parameters(), good, strict=True):
            p.copy_(old)
    covered(track.measure((x, LABELS)), dense(net, x))


# The search by itself, on matrices with a known spectrum.


def reading_of(values, seed=0, most=200, ends=("largest", "smallest"), tolerance=1e-2, bound=True):
    from thalweg.torch.extremes import Extremes

    diagonal = torch.as_tensor(np.asarray(values, float))
    search = Extremes(ends, tolerance, most, seed, bound)
    return search, search.measure(lambda v: diagonal * v, diagonal, 0.0)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-1, 1, 400),  # nothing stands out
        np.r_[np.zeros(300), 5.0, 5.0, 4.99],  # a double eigenvalue and a neighbour
        np.r_[-3.0, np.zeros(50)],  # the largest is 0
        -np.geomspace(1e-6, 1, 200),  # all negative
        np.zeros(7),
        [2.0],
        np.r_[np.random.default_rng(1).normal(size=2000), 4.5],  # one just beyond a bulk
    ],
    ids=["flat", "double", "lowest", "negative", "zero", "one", "bulk"],
)
def test_bounds_hold_for_many_starts(values):
    for seed in range(20):
        _, found = reading_of(values, seed)
        for end, true in (("largest", np.max(values)), ("smallest", np.min(values))):
            value, error, code = (float(part) for part in found.readings[end])
            low, high = (value, value + error) if end == "largest" else (value - error, value)
            scale = np.abs(values).max()
            assert low - 1e-12 * scale <= true <= high + 1e-12 * scale
            assert error <= 1.01e-2 * scale or code == tw.Result.NOT_CONVERGED


@pytest.mark.parametrize("seed", range(5))
def test_without_a_bound_the_error_is_the_residual(seed):
    """An eigenvalue is that near, and it costs about half."""
    values = np.r_[np.random.default_rng(1).normal(size=2000), 4.5, -4.4]
    spent = []
    for bound in (True, False):
        _, found = reading_of(values, seed, bound=bound)
        spent.append(found.products)
        for end in ("largest", "smallest"):
            value, error, code = (float(part) for part in found.readings[end])
            assert np.abs(values - value).min() <= error <= 1e-2 * np.abs(values).max()
            assert code == tw.Result.OK
    assert spent[1] < 0.8 * spent[0]


def test_vectors_that_turn_steadily_are_met_half_way(monkeypatch):
    """One product a record where the last vector alone would need several; errors hold."""
    from thalweg.torch.extremes import Extremes

    monkeypatch.setattr("thalweg.torch.extremes.SMALL", 0)  # else every record were a recheck
    heights = torch.cat([torch.linspace(-1, 1, 60), torch.tensor([3.0])]).double()
    turned = torch.linalg.qr(torch.randn(61, 61, generator=torch.manual_seed(0)).double())[0]

    def spent_with(guesses: bool) -> list[int]:
        search, spent = Extremes(("largest",), 1e-2, 200, 0), []
        for record in range(31):
            angle = 0.03 * record
            vectors = turned.clone()
            cos, sin = np.cos(angle), np.sin(angle)
            vectors[:, 60] = cos * turned[:, 60] + sin * turned[:, 10]
            vectors[:, 10] = cos * turned[:, 10] - sin * turned[:, 60]
            matrix = vectors @ torch.diag(heights) @ vectors.T
            if not guesses:
                search.ahead = {}
            found = search.measure(lambda v, m=matrix: m @ v, heights, 0.0)
            value, error, code = (float(part) for part in found.readings["largest"])
            assert value - 1e-9 <= 3 <= value + error + 1e-9
            assert code == tw.Result.OK
            spent.append(found.products)
        return spent[16:]

    with_guess, without = spent_with(True), spent_with(False)
    assert np.median(with_guess) == 1
    assert np.median(without) > 1


def test_too_few_products_say_so():
    _, found = reading_of(np.linspace(-1, 1, 400), most=6)
    assert found.products == 6
    assert {int(found.readings[end].result) for end in ("largest", "smallest")} == {
        int(tw.Result.NOT_CONVERGED)
    }
    value, error, _ = found.readings["largest"]
    assert value <= 1 <= value + error < np.inf


def test_an_eigenvalue_that_overtakes_is_seen_within_five_records():
    first = torch.linspace(-1, 1, 300, dtype=torch.float64)
    from thalweg.torch.extremes import Extremes

    search, late, spent = Extremes(("largest",), 1e-2, 200, 0), 0, []
    for record in range(30):
        diagonal = first.clone()
        diagonal[3], diagonal[5] = 3.0, 2.0 + 0.1 * record
        found = search.measure(lambda v, d=diagonal: d * v, diagonal, 0.0)
        value, error, _ = found.readings["largest"]
        spent.append(found.products)
        missed = not value - 1e-9 <= float(diagonal.max()) <= value + error
        late = late + 1 if missed else 0
        assert late < 5
    assert late == 0
    assert np.mean(spent[1:]) < 4


@pytest.mark.parametrize(
    "diagonal",
    [
        np.r_[np.linspace(-1, 1, 299), 3.0],
        np.linspace(-1, 1, 300),
        np.r_[np.zeros(290), np.ones(10)],
    ],
    ids=["one", "flat", "multiple"],
)
def test_rechecks_are_spaced_while_they_find_nothing_larger(diagonal):
    diagonal = torch.as_tensor(diagonal)
    from thalweg.torch.extremes import Extremes

    search = Extremes(("largest",), 1e-2, 200, 0, recheck=20)
    found = [search.measure(lambda v: diagonal * v, diagonal, 0.0) for _ in range(60)]
    assert [i for i, ends in enumerate(found) if ends.bounded] == [0, 5, 15, 35, 55]


def test_a_mode_that_no_vector_has_a_part_in_is_told_as_unseen_and_found_at_a_recheck():
    """It rises at an axis from -1 on: what was carried has forgotten it down to rounding."""
    from thalweg.torch.extremes import Extremes

    search, missed, bounded = Extremes(("largest",), 1e-2, 200, 0), [], []
    for record in range(40):
        diagonal = torch.zeros(300, dtype=torch.float64)
        diagonal[3], diagonal[5] = 3.0, -1.0 if record < 7 else 6.0
        found = search.measure(lambda v, d=diagonal: d * v, diagonal, 0.0)
        value, error, code = (float(part) for part in found.readings["largest"])
        assert code == tw.Result.OK
        if found.bounded:
            bounded.append(record)
        if not value - 1e-9 <= float(diagonal.max()) <= value + error:
            missed.append(record)
    assert missed == list(range(7, 15))  # else the carried vectors saw it, and nothing was tested
    assert bounded == [0, 5, 15, 20, 30]


@pytest.mark.parametrize("kind", ["turning", "overtaking", "double"])
def test_rechecks_beside_what_was_followed_bound_the_rest(kind):
    """A rotation, a mode that no carried vector has a part in and rises, a pair that parts."""
    from thalweg.torch.extremes import Extremes

    rng, p, missed, spent = np.random.default_rng(2), 300, 0, []
    for seed in range(12):
        search = Extremes(("largest", "smallest"), 1e-2, 200, seed, recheck=1)
        bulk = rng.normal(size=p) / 3
        along = rng.normal(size=(2, p)) / np.sqrt(p)
        for record in range(4):
            values, angle = bulk.copy(), 0.003 * record if kind == "turning" else 0.0
            values[:3] = {
                "turning": (3.0, 2.5, -2.0),
                "overtaking": (3.0, (-1.0, 2.999, 3.05, 6.0)[record], (-2, 0, -1.8, -3)[record]),
                "double": (3.0, 3.0 + 0.005 * record, -1.2),
            }[kind]
            search.due = search.records  # a recheck
            turn = along[0] + angle * along[1]
            turn = torch.as_tensor(turn / np.linalg.norm(turn))
            diagonal = torch.as_tensor(values)

            def product(v, d=diagonal, u=turn):
                v = d * (v - 2 * (u @ v) * u)
                return v - 2 * (u @ v) * u

            found = search.measure(product, diagonal, 0.0)
            assert found.bounded
            spent.append(found.products)
            for end, true in (("largest", values.max()), ("smallest", values.min())):
                value, error, code = (float(part) for part in found.readings[end])
                assert code == tw.Result.OK
                assert error <= 1.01e-2 * np.abs(values).max()
                low, high = (value, value + error) if end == "largest" else (value - error, value)
                missed += not low - 1e-12 <= true <= high + 1e-12
    assert missed == 0
    assert kind == "overtaking" or np.mean(spent[1::4]) < 0.9 * np.mean(spent[::4])


def test_a_symmetric_start_hides_no_mode_of_few_parameters():
    """Of a diagonal linear net training never turns to the modes whose curvature takes over."""
    first, last = (nn.Linear(2, 2, bias=False, dtype=torch.float64) for _ in range(2))
    net, x = nn.Sequential(first, last), torch.eye(2, dtype=torch.float64)
    y, loss = torch.diag(torch.tensor([3.0, 1.0])).double(), nn.MSELoss(reduction="sum")
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(1e-3 * torch.eye(2))
    track = tw.torch.Tracker(net, loss, None, "sharpness")
    optimiser = torch.optim.SGD(net.parameters(), 0.02)
    for _ in range(12):
        for _ in range(15):
            optimiser.zero_grad()
            loss(net(x), y).backward()
            optimiser.step()
        record = track.measure((x, y))
        truth = np.linalg.eigvalsh(dense(net, x, loss, y))[-1]
        value, error, code = (float(part) for part in record["sharpness"])
        assert value - 1e-9 <= truth <= value + error
        assert (code, record.unbounded) == (tw.Result.OK, ())
