"""PyTorch modules at the door: every kind of layer against double backward, refusals, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.diagnosis.checkpoint import checkpoint
from thalweg.models import from_torch
from thalweg.models.frameworks import aten, torch_modules
from thalweg.problems import supervised

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'thalweg[torch]'"
)

nn = torch.nn

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
IMAGES, WORDS = RNG.normal(size=(5, 2, 8, 8)), RNG.normal(size=(5, 5, 8))
TOKENS = RNG.integers(0, 9, (8, 5))
EXACT = 1e-12


class Own(nn.Module):
    """A module from layers and a function of them and a batch."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))


def attention(m, x):
    q, k, v = m.qkv(x).reshape(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return m.out(y.transpose(1, 2).reshape(x.shape).mean(1))


def encoder(**how):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **how)


def recurrent(kind, **how):
    layer = kind(8, 3, 2, batch_first=True, bidirectional=True, **how)
    return Own(lambda m, x: m.layer(x)[0][:, -1, :3], layer=layer)


ARCHITECTURES = {
    "residual": (
        lambda: Own(
            lambda m, x: m.c(x + m.b(torch.relu(m.a(m.n(x))))),
            a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 3), n=nn.LayerNorm(4),
        ), X),
    "conv + batch norm + GELU": (
        lambda: flat(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2)
        ), IMAGES),
    "transformer": (lambda: flat(encoder(activation="gelu")), WORDS),
    "two transformers": (lambda: flat(nn.TransformerEncoder(encoder(), 2)), WORDS),
    "attention": (lambda: Own(attention, qkv=nn.Linear(8, 24), out=nn.Linear(8, 3)), WORDS),
    "multi-head attention": (
        lambda: Own(
            lambda m, x: m.heads(x, x, x)[0].mean(1)[:, :3],
            heads=nn.MultiheadAttention(8, 2, batch_first=True),
        ), WORDS),
    "embedding": (
        lambda: Own(
            lambda m, x: m.out(torch.tanh(m.table(x).mean(1))),
            table=nn.Embedding(9, 6, padding_idx=0), out=nn.Linear(6, 3),
        ), TOKENS),
    "LSTM": (lambda: recurrent(nn.LSTM), WORDS),
    "GRU": (lambda: recurrent(nn.GRU), WORDS),
    "RNN": (lambda: recurrent(nn.RNN, nonlinearity="relu", bias=False), WORDS),
    "detached": (
        lambda: Own(lambda m, x: m.b((h := torch.tanh(m.a(x))) * h.detach()),
            a=nn.Linear(4, 4), b=nn.Linear(4, 3),
        ), X),
    "group norm": (
        lambda: flat(
            nn.Conv2d(2, 4, 3, stride=2, groups=2), nn.GroupNorm(2, 4), nn.SiLU(),
            nn.AdaptiveAvgPool2d((2, 5)),
        ), IMAGES),
    "instance norm": (
        lambda: flat(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Softplus()), IMAGES),
    "transposed": (
        lambda: flat(
            nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.Tanh(), nn.AvgPool2d(2, padding=1, count_include_pad=False),
        ), IMAGES),
    "circular": (
        lambda: flat(
            nn.Conv1d(5, 4, 3, padding=2, dilation=2, padding_mode="circular"), nn.ELU(),
            nn.MaxPool1d(3, 2, 1),
        ), WORDS),
    "upsampled": (
        lambda: flat(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2, 2, 3), nn.Mish(),
            nn.Upsample(size=7),
        ), IMAGES),
    "padded": (
        lambda: flat(
            nn.ReflectionPad2d(1), nn.Conv2d(2, 4, 3), nn.ReplicationPad2d(1), nn.PixelShuffle(2)
        ), IMAGES),
    "volume": (
        lambda: flat(nn.Conv3d(1, 2, 3), nn.Hardswish(), nn.MaxPool3d(2)),
        RNG.normal(size=(5, 1, 5, 5, 5))),
    "gated": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.RMSNorm(4), nn.LogSoftmax(-1)), X),
    "sorted": (
        lambda: Own(
            lambda m, x: torch.cat([m.a(x).topk(2).values, m.a(x).cumsum(1).amax(1, True)], 1),
            a=nn.Linear(4, 4),
        ), X),
}  # fmt: skip


def of(name):
    make, inputs = ARCHITECTURES[name]
    torch.manual_seed(0)
    net = make().eval()
    given = torch.as_tensor(inputs)
    net(given.float() if given.is_floating_point() else given)  # lazy layers take their shapes
    return net, inputs


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_derivatives_are_those_of_double_backward(name):
    net, inputs = of(name)
    model = from_torch(net, inputs)
    assert model.agreement.exact
    assert model.agreement.worst < EXACT
    params = model.init(KEY, inputs.shape[1:], 3, jnp.float64)
    double = torch_modules.copied(net, "net")
    for count in (len(inputs), 1):
        with torch.no_grad():
            truth = double(torch.as_tensor(inputs[:count])).numpy()
        mine = model.apply(params, jnp.asarray(inputs[:count], float))
        np.testing.assert_allclose(mine, truth, rtol=0, atol=1e-12)
    single = model.init(KEY, inputs.shape[1:], 3, jnp.float32)
    assert model.apply(single, jnp.asarray(inputs, jnp.float32)).dtype == jnp.float32


ACTIVATIONS = (
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish"),
    *("Softplus", "Softsign", "Tanhshrink", "Hardtanh", "Hardsigmoid", "Hardswish", "LogSigmoid"),
    *("Sigmoid", "Tanh", "Hardshrink", "Softshrink", "Softmin"),
)


@pytest.mark.thorough
def test_activations():
    def forward(m, x):
        z = 2 * m.inner(x)
        return m.outer(sum(f(z) * (i + 1) for i, f in enumerate(m.functions)))

    names = [name for name in ACTIVATIONS if name not in ("Hardsigmoid", "Softmin")]
    functions = nn.ModuleList([*(getattr(nn, n)() for n in (*names, "GELU")), nn.Softmin(-1)])
    functions[-2].approximate = "tanh"
    torch.manual_seed(0)
    net = Own(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), functions=functions).eval()
    assert from_torch(net, X).agreement.worst < EXACT
    # PyTorch's hardsigmoid holds 1/6 in single precision and has no second derivative.
    rough = from_torch(nn.Sequential(nn.Linear(4, 6), nn.Hardsigmoid(), nn.Linear(6, 3)), X)
    assert rough.agreement.worst < EXACT


def test_a_wrong_second_derivative_of_pytorch_is_seen_and_told():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh())
    found = from_torch(net, X).agreement
    assert found.worst < EXACT
    assert found.product < 1e-6  # of differences of gradients
    assert found.exact == (found.product < EXACT)  # a PyTorch that mends it is welcome


def test_a_module_in_one_line_and_back():
    net = mlp()
    problem = supervised(net, (X, LABELS))
    params = problem.init(KEY)
    assert set(params) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    z = np.tanh(X @ params["0.weight"].T + params["0.bias"])
    truth = z @ params["2.weight"].T + params["2.bias"]
    np.testing.assert_allclose(problem.outputs(params), truth, rtol=0, atol=1e-13)
    run = tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=2, probes="sharpness")
    after = problem.model.to_framework(run.parameters.values[0, -1])
    assert after[0].weight.dtype == torch.float32
    # Ten steps of PyTorch's own descent lead to the same weights.
    twin = torch_modules.copied(net, "net")
    sgd = torch.optim.SGD(twin.parameters(), 0.1)
    for _ in range(10):
        sgd.zero_grad()
        nn.functional.cross_entropy(twin(torch.as_tensor(X)), torch.as_tensor(LABELS)).backward()
        sgd.step()
    for mine, theirs in zip(after.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach(), theirs.detach(), atol=1e-7)
    np.testing.assert_array_equal(net[0].weight.detach(), mlp()[0].weight.detach())  # untouched


def test_a_state_dict_says_where_a_run_is_now():
    problem, later = supervised(mlp(), (X, LABELS)), mlp()
    with torch.no_grad():
        for p in later.parameters():
            p.mul_(1.5)
    params = checkpoint(problem, later.state_dict()).params
    loss = nn.functional.cross_entropy(later.double()(torch.as_tensor(X)), torch.as_tensor(LABELS))
    assert float(problem.objective(params)) == pytest.approx(loss.item(), abs=1e-12)


@pytest.mark.parametrize("lost", [True, False])
def test_a_state_dict_of_another_net_is_told_by_name(tmp_path, lost):
    problem = supervised(mlp(), (X, LABELS))
    state = mlp().state_dict()
    name = "2.bias" if lost else "1.running_mean"
    if lost:
        del state[name]
    else:
        state[name] = torch.ones(5)
    words = f"with{'out' if lost else ''} {name}.*net.load_state_dict"
    with pytest.raises(tw.InputError, match=words):
        tw.diagnose(problem, 0.1, start=state, out=tmp_path / "now")
    with pytest.raises(tw.InputError, match="checkpoint; load it into the module"):
        tw.diagnose(problem, 0.1, start="run.pt", out=tmp_path / "now")
    assert not (tmp_path / "now").exists()


def test_buffers_and_frozen_weights_are_held():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        net[1].running_mean.copy_(torch.linspace(-1, 1, 6))
    net[0].requires_grad_(False)
    problem = supervised(net.eval(), (X, Y))
    params = problem.init(KEY)
    assert set(params) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    assert problem.describe()["held fixed"] == [
        "0.bias", "0.weight", "1.num_batches_tracked", "1.running_mean", "1.running_var",
    ]  # fmt: skip
    assert problem.model.agreement.worst < EXACT
    tied = Own(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    tied.b.weight = tied.a.weight
    shared = from_torch(tied, X)
    assert set(shared.start) == {"a.weight", "a.bias", "b.bias"}
    assert shared.agreement.worst < EXACT


def test_batch_statistics_when_they_are_asked_for():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    with pytest.raises(tw.InputError, match=r"1 \(BatchNorm1d\) normalises by the batch's own"):
        supervised(net, (X, Y))
    problem = supervised(from_torch(net, batch_statistics=True), (X, Y))
    assert problem.model.agreement.worst < EXACT
    assert not problem.model.separable
    np.testing.assert_array_equal(net[1].running_mean, np.zeros(6))  # the module was not called
    with pytest.raises(tw.InputError, match="cannot be worked on 2 at a time"):
        supervised(from_torch(net, batch_statistics=True), (X, Y), microbatch=2)


def test_dropout_is_refused_by_the_layers_name():
    dropping = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    with pytest.raises(tw.InputError, match=r"1 \(Dropout\) drops out at random; give net.eval()"):
        supervised(dropping, (X, Y))
    assert supervised(dropping.eval(), (X, Y)).model.agreement.worst < EXACT
    hidden = Own(lambda m, x: nn.functional.dropout(m.a(x), 0.5), a=nn.Linear(4, 3))
    with pytest.raises(tw.InputError, match=r"native_dropout|bernoulli|does not agree"):
        supervised(hidden, (X, Y))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.waves = nn.Parameter(torch.ones(3, dtype=torch.complex64))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x)[:, :3] * self.waves, n=4)[:, :3]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: 3, "net came as 3; give a PyTorch module"),
        (Complex, "complex weights .waves, torch.complex64."),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.RReLU()).eval(), "rrelu.* in the layer 1"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), "0.weight has no shape; call it"),
        (lambda: nn.Linear(5, 3), r"does not accept inputs of shape \(4, 4\)"),
        (lambda: nn.Linear(4, 3).requires_grad_(False), "nothing is trained"),
        (
            lambda: Own(lambda m, x: (m.a(x), m.a(x)), a=nn.Linear(4, 3)),
            "returns 2 arrays; let its forward return the outputs",
        ),
        (
            lambda: Own(lambda m, x: m.a(x).float().double(), a=nn.Linear(4, 3)),
            "casts to torch.float32",
        ),
        (
            lambda: Own(lambda m, x: m.a(x) if m.a(x).sum() > 0 else x, a=nn.Linear(4, 3)),
            "torch.export cannot take",
        ),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(make, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        from_torch(make(), X)


def test_without_an_example_nothing_is_exported_before_the_data_are_there():
    model = from_torch(mlp())
    assert model.agreement is None
    params = model.init(KEY, (4,), 3, jnp.float64)
    with pytest.raises(tw.InputError, match="without an example"):
        model.apply(params, X)
    assert supervised(model, (X, Y)).model.agreement.worst < EXACT


FAULTS = {
    "gelu": (lambda x, approximate="none": jax.nn.gelu(x), "1", "result of gelu"),
    "addmm": (lambda c, a, b: c + a @ b * (1 + 1e-9), "0", "result of addmm"),
    "gelu slope": (
        lambda x, approximate="none": (
            jax.lax.stop_gradient(jax.nn.gelu(x, approximate=False))
            + (x - jax.lax.stop_gradient(x)) * 0.5
        ),
        "1",
        "slope of gelu",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_translation_is_refused_by_the_layers_name(monkeypatch, fault):
    wrong, layer, what = FAULTS[fault]
    monkeypatch.setitem(aten.OPERATIONS, fault.split()[0], wrong)
    net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    with pytest.raises(
        tw.InputError, match=rf"the first to differ is the layer {layer}, whose {what}"
    ):
        from_torch(net, X)
