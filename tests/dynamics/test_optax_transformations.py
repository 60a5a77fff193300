"""Every public optimiser and wrapper of Optax walks the path of Optax's own loop."""

from __future__ import annotations

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import thalweg as tw
from thalweg.problems import Function

pytestmark = pytest.mark.implicit  # Optax alone is beside it, which converts

STEPS = 5
RATE = 0.05
PARAMS = {
    "matrix": jnp.asarray([[0.3, -1.2, 0.8], [1.1, 0.4, -0.5]]),
    "vector": jnp.asarray([0.7, -0.9, 1.3]),
}


def valley(params: dict) -> jax.Array:
    """Not convex, bounded below by zero, not zero at its minimum."""
    rest = jnp.tanh(params["matrix"]) @ params["vector"] - jnp.asarray([0.4, -0.6])
    return 0.5 * jnp.sum(rest**2) + 0.05 * sum(jnp.sum(p**2) for p in params.values()) + 0.1


def norm(updates: dict) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(u**2) for u in updates.values()))


VALLEY = Function(valley, PARAMS)
LABELS = {"matrix": "a", "vector": "b"}
FREEZE = {"matrix": False, "vector": True}
# What required arguments are, by their names.
ARGUMENTS = {
    "learning_rate": RATE,
    "inner": optax.sgd(RATE, momentum=0.9),
    "opt": optax.sgd(RATE),
    "tx": optax.sgd(RATE),
    "optimizer": optax.sgd(RATE),
    "base_optimizer": optax.sgd(RATE),
    "fast_optimizer": optax.adam(RATE),
    "adv_optimizer": optax.chain(optax.contrib.normalize(), optax.sgd(0.1)),
    "transforms": {"a": optax.adam(RATE), "b": optax.sgd(RATE)},
    "param_labels": LABELS,
    "mask": FREEZE,
    "freeze_mask": FREEZE,
    "should_transform_fn": lambda step: step % 2 == 0,
    "every_k_schedule": 2,
    "max_consecutive_errors": 3,
    "sync_period": 2,
    "slow_step_size": 0.5,
    "eta": 0.01,
    "gamma": 0.55,
    "decay": 0.9,
    "clipping": 0.1,
    "max_delta": 0.1,
    "threshold": 0.1,
    "max_norm": 0.1,
    "step_size": 0.5,
    "step_size_fn": lambda count: 1 / (1.0 + count),
    "max_backtracking_steps": 10,
    "max_linesearch_steps": 10,
    "l2_norm_clip": 1.0,
    "noise_multiplier": 0.1,
    "seed": 0,
    "measure_name": "norm",
    "measure": norm,
    "measures": {"norm": norm},
    "f": lambda updates, _: jax.tree.map(lambda u: 0.5 * u, updates),
}
# Those that are made in another way than by the names of their arguments.
MADE = {
    "chain": lambda: optax.chain(optax.clip(0.5), optax.adam(RATE)),
    "named_chain": lambda: optax.named_chain(("a", optax.clip(0.5)), ("b", optax.sgd(RATE))),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
    "inject_stateful_hyperparams": lambda: optax.inject_stateful_hyperparams(optax.adam)(
        learning_rate=optax.linear_schedule(RATE, 0.0, 9)
    ),
    "stateless_with_tree_map": lambda: optax.stateless_with_tree_map(lambda u, _: 0.5 * u),
    "add_noise": lambda: optax.chain(optax.add_noise(0.01, 0.55, 0), optax.sgd(RATE)),
    "noisy_sgd": lambda: optax.noisy_sgd(RATE, key=0),
    "galore": lambda: optax.contrib.galore(RATE, rank=1, update_proj_gap=2),
    "scale_by_galore": lambda: optax.chain(
        optax.contrib.scale_by_galore(rank=1, update_proj_gap=2), optax.scale(-RATE)
    ),
    "scale_by_muon": lambda: optax.contrib.muon(RATE, beta=0.8),
    "sophia": lambda: optax.contrib.sophia(RATE, update_interval=2),
    "reduce_on_plateau": lambda: optax.contrib.reduce_on_plateau(patience=1, accumulation_size=1),
}
# What is scaled by a rate afterwards would else ascend; what comes last must not be scaled.
COMPLETE = {"MultiSteps", "stateless", "apply_if_finite", "partition", "multi_transform"}
LAST = (
    {"apply_every", "keep_params_nonnegative", "reduce_on_plateau", "freeze", "set_to_zero"}
    | {"scale_by_backtracking_linesearch", "scale_by_zoom_linesearch", "add_decayed_weights"}
)  # fmt: skip
# One sentence each on why a transformation has no path here; the run says it to the user.
EXCUSED = {
    "dpsgd": "batch dimension.*gets the gradient of the whole objective",
    "differentially_private_aggregate": "batch dimension.*gets the gradient of the whole objective",
    "measure_with_ema": "give a transformation whose updates fit the parameters",
    "monitor": "has another structure, shape or type after a step",
}


def makers() -> dict[str, object]:
    """All public functions that make a transformation, in whatever version is installed."""
    found = {}
    for module in (optax, optax.contrib):
        for name in dir(module):
            maker = getattr(module, name)
            if name == "MultiSteps" or (inspect.isfunction(maker) and not name.startswith("_")):
                found[name] = maker
    return found


def is_transformation(value: object) -> bool:
    return isinstance(value, optax.GradientTransformation) or hasattr(
        value, "gradient_transformation"
    )


def made(name: str, maker: object) -> object:
    """What a maker makes; None if it makes something else.

    Raises:
        LookupError: If it makes a transformation of arguments that are not known here.
    """
    signature = inspect.signature(maker)
    wanted = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    known = all(argument in ARGUMENTS for argument in wanted)
    says = "GradientTransformation" in str(signature.return_annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in MADE:
            return MADE[name]()
        try:
            if known and (says or signature.return_annotation is signature.empty):
                return maker(**{argument: ARGUMENTS[argument] for argument in wanted})
        except Exception as error:
            if says:
                raise LookupError(f"{name}({', '.join(wanted)}): {error}") from error
    if says and not known:
        raise LookupError(f"{name}({', '.join(wanted)})")
    return None


def whole(name: str, maker: object) -> optax.GradientTransformation | None:
    """A transformation that descends."""
    transform = made(name, maker)
    if not is_transformation(transform):
        return None
    if hasattr(transform, "gradient_transformation"):
        transform = transform.gradient_transformation()
    if name in LAST:
        return optax.chain(optax.sgd(1.0 if "search" in name else RATE), transform)
    names = set(inspect.signature(maker).parameters)
    optimises = names & {"learning_rate", "inner", "optimizer", "base_optimizer", "fast_optimizer"}
    if name in MADE or name in COMPLETE or optimises or "tx" in names:
        return transform
    return optax.chain(transform, optax.scale(-RATE))


WALKED, UNKNOWN = {}, []
for _name, _maker in makers().items():
    try:
        if (_transform := whole(_name, _maker)) is not None:
            WALKED[_name] = _transform
    except LookupError as error:
        UNKNOWN.append(str(error))


def plain_step(name: str):
    """A step of the loop in Optax's documentation; `seat` is where the gradient is taken."""
    transform = optax.with_extra_args_support(WALKED[name])

    def step(params, state):
        seat = params.fast if name == "lookahead" else params
        value, grad = jax.value_and_grad(valley)(seat)
        extra = {
            "value": value,
            "grad": grad,
            "value_fn": valley,
            "obj_fn": valley,
            "grad_fn": lambda params, _: jax.grad(valley)(params),
        }
        updates, state = documented(transform, extra)(grad, state, params)
        return optax.apply_updates(params, updates), state

    return step


def documented(transform: optax.GradientTransformationExtraArgs, extra: dict):
    """`update` with those extra arguments that it is documented to take."""

    def update(grad, state, params):
        for names in (["value", "grad", "value_fn"], ["value", "obj_fn"], ["grad_fn"], []):
            try:
                given = {name: extra[name] for name in names}
                return transform.update(grad, state, params, **given)
            except (TypeError, ValueError) as error:
                refusal = error
        raise refusal

    return update


def test_the_walk_is_a_long_one():
    """A transformation that is new in Optax is told, and a walk that finds nothing too."""
    assert not UNKNOWN, f"neither walked nor excused, add their arguments: {UNKNOWN}"
    assert len(WALKED) > 100
    assert {"sgd", "adam", "lbfgs", "sam", "lookahead", "noisy_sgd", "MultiSteps"} <= set(WALKED)


# Line searches compile for seconds; how often they evaluate is tested elsewhere.
HEAVY = {"lbfgs", "scale_by_zoom_linesearch", "sophia", "hutchinson_estimator_diag_hessian"}
LIGHT = sorted(set(WALKED) - set(EXCUSED) - HEAVY)


@pytest.mark.parametrize(
    "name",
    [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(HEAVY & set(WALKED)))],
)
def test_the_path_is_that_of_optax(name):
    """Step by step to rounding; and a compiled loop can carry the state, types and all."""
    dynamics = tw.optax_dynamics(WALKED[name], RATE)
    key = jax.random.key(0)

    def our_step(state):
        return dynamics.step(VALLEY, state, key)[0]

    state = dynamics.init(VALLEY, PARAMS)
    program, after = jax.make_jaxpr(our_step, return_shape=True)(state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    their_step = plain_step(name)
    if any(loop in str(program) for loop in (" while[", " cond[")):  # else faster uncompiled
        our_step, their_step = jax.jit(our_step), jax.jit(their_step)
    params = optax.LookaheadParams.init_synced(PARAMS) if name == "lookahead" else PARAMS
    memory = WALKED[name].init(params)
    for _ in range(STEPS):
        state = our_step(state)
        params, memory = their_step(params, memory)
        theirs = params.fast if name == "lookahead" else params
        for part in PARAMS:
            assert np.allclose(state.params[part], theirs[part], rtol=1e-11, atol=1e-14)
    assert int(state.evaluations) >= STEPS
    assert all("its own key" in doubt for doubt in dynamics.doubts(VALLEY))


@pytest.mark.parametrize("name", sorted(set(WALKED) & set(EXCUSED)))
def test_what_has_no_path_says_why(name):
    with pytest.raises(tw.InputError, match=EXCUSED[name]):
        tw.run(VALLEY, tw.optax_dynamics(WALKED[name], RATE), until=RATE, progress=False)
