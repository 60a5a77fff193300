"""A training that goes on from what its optimiser remembers is the one that was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.diagnosis.checkpoint import arrays_of
from thalweg.diagnosis.remembered import begun_in_words, remembered
from thalweg.dynamics.given_limit import second_order
from thalweg.dynamics.optax_update import optax_converts
from thalweg.problems.problem import unraveller
from thalweg.report import read_page

CURVED = np.array([[1.0, 0.5, 0.2], [2.0, 0.1, 3.0]])
START = {"a": jnp.array([[1.0, -2.0, 0.5], [0.3, 1.2, -0.7]]), "b": jnp.array([1.0, -0.2])}
TAKEN, LEFT = 12, 15


def loss(params: Any) -> jax.Array:
    """Of two leaves, curved, not alike in any direction."""
    a, b = params["a"], params["b"]
    bent = jnp.sum(jnp.log(jnp.cosh(jnp.asarray(CURVED) * a)))
    return 0.5 * bent + jnp.sum((b - 0.3) ** 4) + b[0] * a[0, 1]


def problem() -> tw.problems.Function:
    return tw.problems.Function(loss, start=START)


def by_optax(transform: Any, count: int) -> tuple[list[Any], list[Any]]:
    """Parameters and states of a plain loop, before each step and after the last."""
    path, states = [START], [transform.init(START)]
    slope = jax.jit(jax.grad(loss))
    with optax_converts():
        step = jax.jit(transform.update)
        for _ in range(count):
            update, state = step(slope(path[-1]), states[-1], path[-1])
            path.append(optax.apply_updates(path[-1], update))
            states.append(state)
    return path, states


def flat(params: Any) -> np.ndarray:
    return np.concatenate([np.ravel(params["a"]), np.ravel(params["b"])])


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "rate", "transform"),
    [
        ("adam", 0.02, optax.adam(0.02)),
        ("momentum", 0.01, optax.sgd(0.01, momentum=0.9)),
        ("nesterov", 0.01, optax.sgd(0.01, momentum=0.9, nesterov=True)),
        ("adamw", 0.02, optax.adamw(0.02)),
        ("rmsprop", 0.005, optax.rmsprop(0.005, 0.99, 1e-8, 0.0, eps_in_sqrt=False)),
    ],
)
@pytest.mark.thorough(after=2)
def test_its_steps_are_those_of_the_loop_that_goes_on(
    name: str, rate: float, transform: Any
) -> None:
    path, states = by_optax(transform, TAKEN + LEFT)
    base = tw.dynamics.optimiser(name, rate)
    later = tw.dynamics.continued(base, states[TAKEN])
    times = later.clock(np.arange(LEFT + 1))
    run = tw.run(problem(), later, times=times, start=path[TAKEN])
    whole = np.stack([flat(x) for x in path[TAKEN:]])
    np.testing.assert_allclose(run.parameters.values[0], whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "amsgrad", "adagrad"])
@pytest.mark.slow
def test_so_does_the_flow_beside_it(name: str) -> None:
    """A flow that is stopped and begun anew from its averages is the one that went on."""
    base = tw.dynamics.optimiser(name, 0.02)
    size = float(base.clock(np.array([1]))[0])
    flow: Any = base.limit(problem(), START)
    flow = flow.asked(1e-7)
    times = size * np.array([0.0, TAKEN, TAKEN + LEFT])
    whole = tw.run(problem(), flow, times=times)
    state = flow.advance(
        problem(), flow.init(problem(), START), jnp.asarray(times[1]), jnp.asarray(10**6)
    )
    if name == "adagrad":
        parts = {"sum_of_squares": state.memory.theta[8:16]}
    else:
        at = flow._cut(state.memory.theta)
        parts = {"nu": at.second, "mu": at.first, "nu_max": at.highest, "count": TAKEN}
        kept = {"rmsprop": ("nu",), "adam": ("nu", "mu", "count")}.get(name, tuple(parts))
        parts = {part: parts[part] for part in kept}
    later = remembered(problem(), base, parts, state.params).dynamics
    again: Any = later.limit(problem(), START)
    assert isinstance(again, type(flow))
    part = tw.run(problem(), again.asked(1e-7), times=times[1:] - times[1], start=state.params)
    np.testing.assert_allclose(
        part.parameters.values[0, -1], whole.parameters.values[0, -1], atol=3e-7
    )


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
@pytest.mark.slow
def test_a_momentum_is_the_first_velocity_of_the_equation_of_second_order(name: str) -> None:
    """On the slope of a plane both are known: a lasting gradient and a momentum that fades."""
    rate, beta, slope, kept = 0.01, 0.9, 2.0, -30.0
    plane = tw.problems.Function(lambda x: slope * jnp.sum(x), start=jnp.zeros(1))
    base = tw.dynamics.optimiser(name, rate, momentum=beta)
    later = remembered(plane, base, {"trace": np.array([kept])}, np.zeros(1)).dynamics
    flow = second_order(later).asked(1e-9)
    x, buffer = 0.0, kept
    for _ in range(400):
        buffer = slope + beta * buffer
        x -= rate * (slope + beta * buffer if name == "nesterov" else buffer)
    times = later.clock(np.array([0, 400]))
    for dynamics in (later, flow):
        end = float(tw.run(plane, dynamics, times=times).parameters.values[0, -1, 0])
        assert end == pytest.approx(x, rel=1e-7)


# ---- in whatever form it comes ------------------------------------------------------------------


def digest_of(steps: Any) -> Any:
    return steps.describe()["begun"]


def test_all_forms_are_one_state() -> None:
    path, states = by_optax(optax.adam(0.02), 3)
    mu, nu = (flat(getattr(states[-1][0], part)) for part in ("mu", "nu"))
    np.savez("now.npz", parameters=flat(path[-1]), count=3, mu=mu, nu=nu)
    np.savez("torch.npz", step=3, exp_avg=mu, exp_avg_sq=nu)
    beside: Any = optax.chain(optax.clip_by_global_norm(1e9), optax.adam(0.02)).init(START)
    beside = (beside[0], states[-1])
    injected: Any = optax.inject_hyperparams(optax.adam)(learning_rate=0.02).init(START)
    injected = injected._replace(inner_state=states[-1], count=jnp.asarray(3))
    forms = [states[-1], {"count": 3, "mu": mu, "nu": nu}, "now.npz", "torch.npz", beside, injected]
    adam = tw.dynamics.optimiser("adam", 0.02)
    found = [remembered(problem(), adam, form, None) for form in forms]
    assert len({digest_of(each.dynamics) for each in found}) == 1
    assert {each.words.partition(", ")[2] for each in found} == {"after 3 steps"}
    noisy = tw.dynamics.optimiser("adam", 0.02, oracle="isotropic(0.1)")
    assert digest_of(remembered(problem(), noisy, states[-1], None).dynamics) == digest_of(
        found[0].dynamics
    )


def test_which_of_both_was_done_is_said() -> None:
    _, states = by_optax(optax.adam(0.02), 2)
    adam = tw.dynamics.optimiser("adam", 0.02)
    begun = remembered(problem(), adam, states[-1], None)
    flow: Any = begun.dynamics.limit(problem(), START)
    assert begun_in_words("", begun.words, "Adam", flow, True, True) == (
        "Adam goes on from the state given, after 2 steps, and the preconditioned flow with it."
    )
    anew: Any = adam.limit(problem(), START)
    said = begun_in_words("the parameters given", "", "Adam", anew, True, True)
    assert "What Adam remembers of earlier steps begins anew there" in said
    assert "that of this restart" in said
    assert begun_in_words("", "", "Adam", anew, True, True) == ""


@pytest.mark.slow
def test_a_run_goes_on_from_its_folder_and_the_page_says_so() -> None:
    """The run of 8 steps and the one after it are one of 16; the command gives it again."""
    ball = tw.dynamics.optimiser("momentum", 0.01)
    times = ball.clock(np.arange(17))
    options: Any = {"records": 4, "flow_error": 1e-3}
    tw.diagnose(problem(), ball, until=float(times[8]), out="first", **options)
    whole = tw.run(problem(), ball, times=times)
    done = tw.diagnose(
        problem(), ball, start="first", state="first", until=float(times[8]), out="then", **options
    )
    np.testing.assert_allclose(
        done.descent.parameters.values[0, -1], whole.parameters.values[0, 16], rtol=1e-12
    )
    said = done.comparison.reasons[0]
    assert "Momentum goes on from the state in first/descent.zarr." in said
    assert "anew" not in said
    assert "start='first', state='first'" in read_page(done.folder).command
    settings = json.loads((done.folder / "verdict.json").read_text())["settings"]
    assert "'begun'" in settings["dynamics"]


@pytest.mark.slow
def test_the_other_of_both_is_said_as_well() -> None:
    ball = tw.dynamics.optimiser("momentum", 0.01)
    options: Any = {"until": 1.0, "records": 4, "flow_error": 1e-3, "start": START}
    anew = tw.diagnose(problem(), ball, out="anew", **options)
    assert "What momentum remembers of earlier steps begins anew there" in str(anew)
    state = {"trace": np.ones(8)}
    on = tw.diagnose(problem(), ball, out="on", state=state, limit="second-order", **options)
    assert "goes on from the state given, and the second-order flow with it." in str(on)
    assert "state = ...  # what the optimiser remembers there" in read_page("on").command


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("sgd", {"trace": np.ones(8)}, "gradient descent, which has no state of Optax"),
        ("adam", {"trace": np.ones(8)}, "holds trace, which Adam does not remember"),
        ("adam", {"mu": np.ones(8), "count": 3}, "without nu, which Adam remembers beside count"),
        ("momentum", {"trace": np.ones(7)}, "trace of the state came as .* has 8 parameters"),
        ("momentum", {"trace": np.full(8, np.nan)}, "8 numbers in trace of the state are not fin"),
        ("momentum", {"buffer": np.ones(8)}, "holds 'buffer'; what an optimiser remembers is call"),
        ("momentum", optax.adam(0.1).init(START), "which momentum does not remember"),
        ("momentum", optax.trace(0.9).init(jnp.ones(3)), "came as a|another optimiser"),
        ("momentum", "none.npz", "there is no such file"),
        ("momentum", "now.pt", "give the optimizer itself"),
        ("momentum", "now.npy", "a file .npz with what the optimiser remembers by name"),
    ],
)
def test_what_does_not_fit_is_a_sentence(name: str, state: Any, words: str) -> None:
    steps = tw.dynamics.optimiser(name, 0.1)
    with pytest.raises(tw.InputError, match=words):
        remembered(problem(), steps, state, None)
    assert not list(Path().iterdir())


def test_a_schedule_and_several_starts_are_refused() -> None:
    state = {"trace": np.ones(8)}
    scheduled = tw.dynamics.optimiser("momentum", 0.1, schedule="cosine(100)")
    with pytest.raises(tw.InputError, match="state came with a schedule"):
        tw.diagnose(problem(), scheduled, state=state)
    with pytest.raises(tw.InputError, match="seeds came as 2 with a state"):
        tw.diagnose(problem(), tw.dynamics.optimiser("momentum", 0.1), state=state, seeds=2)
    with pytest.raises(tw.InputError, match="without a start"):
        tw.diagnose(problem(), tw.dynamics.optimiser("momentum", 0.1), state="runs/first.zarr")


# ---- PyTorch ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "numbers", "name", "parameters"),
    [
        ("Adam", {"lr": 0.01}, "adam", {}),
        ("SGD", {"lr": 0.05, "momentum": 0.8}, "momentum", {"momentum": 0.8}),
        ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}, "nesterov", {"momentum": 0.8}),
        ("AdamW", {"lr": 0.01, "weight_decay": 0.1}, "adamw", {"weight_decay": 0.1}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.7}, "rmsprop", {"momentum": 0.7}),
    ],
)
@pytest.mark.slow
def test_a_loop_of_pytorch_goes_on(kind: str, numbers: Any, name: str, parameters: Any) -> None:
    """Three layers of one shape, in groups of another order than the module's."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(part for _ in range(3) for part in (torch.nn.Linear(3, 3), torch.nn.Tanh()))
    ).double()
    x, y = (np.random.default_rng(k).normal(size=(5, 3)) for k in (0, 1))
    weights = [p for n, p in net.named_parameters() if n.endswith("weight")]
    others = [p for n, p in net.named_parameters() if n.endswith("bias")]
    groups = [{"params": others[::-1]}, {"params": weights}]
    optimizer = getattr(torch.optim, kind)(groups, **numbers)

    def step() -> None:
        optimizer.zero_grad()
        difference = net(torch.as_tensor(x)) - torch.as_tensor(y)
        (0.5 * (difference**2).sum(dim=1).mean()).backward()
        optimizer.step()

    for _ in range(6):
        step()
    made = tw.problem((x, y), model=net, loss="squared")
    rate = numbers["lr"]
    steps = tw.dynamics.optimiser(name, rate, **parameters)
    begun = remembered(made, steps, optimizer, None).dynamics
    named = {**optimizer.state_dict()}
    with pytest.raises(tw.InputError, match="which is which cannot be told"):
        remembered(made, steps, named, None)
    times = begun.clock(np.arange(6))
    run = tw.run(made, begun, times=times)
    for _ in range(5):
        step()
    state = {n: p.detach().numpy() for n, p in net.named_parameters()}
    ends = unraveller(made)(jnp.asarray(run.parameters.values[0, -1]))
    for key, value in ends.items():
        np.testing.assert_allclose(value, state[key], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_checkpoint_that_is_damaged_is_no_start(tmp_path: Path, ending: str) -> None:
    """By a header that asks for less than there is, which NumPy reads without a word."""
    path = tmp_path / f"net.{ending}"
    if ending == "npy":
        np.save(path, np.arange(6000.0))
    else:
        np.savez(path, parameters=np.arange(6000.0))
    assert arrays_of(path, "start")["parameters"][-1] == 5999
    path.write_bytes(path.read_bytes().replace(b"(6000,)", b"(4000,)"))
    with pytest.raises(tw.InputError, match="cannot be read as NumPy's format"):
        arrays_of(path, "start")
