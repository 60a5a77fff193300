"""What the study of crossprop checks, on the tables of its experiments alone."""

from __future__ import annotations

import xarray as xr

from thalweg.lab.checks import Check, above, all_of, below, near, within
from thalweg.lab.claims import claim

PAPER = "Veeriah, Zhang and Sutton (2017)"
DERIVED = f"{PAPER}; derived"
LAST = 0.1  # the share of a stage over which its end is averaged


def ends(found: xr.Dataset, name: str) -> xr.DataArray:
    """The mean over the last tenth of each stage, and over runs: (learner, stage)."""
    length = found.attrs["length"]
    place = (found["example"] - 1) % length >= (1 - LAST) * length
    late = found[name].mean("run").where(place, drop=True)
    stage = ((late["example"] - 1) // length).rename("stage")
    return late.groupby(stage).mean()


def ratio(found: xr.Dataset, name: str, learner: str) -> xr.DataArray:
    """How far a layer has moved in the end, squared, over backpropagation's; means over runs."""
    last = found[f"{name}_mean"].isel(example=-1)
    return last.sel(learner=learner) / last.sel(learner="backpropagation")


@claim("C1", kind="exact", source=f"{DERIVED} (E3)")
def trace_is_the_derivative(X0: xr.Dataset) -> Check:
    """The trace of all pairs of weights is the derivative of what the output layer has learnt; the
    diagonal one is not, for more than one unit.

    Falsified by: an entry off autodiff by 1e-12, or a diagonal trace within 0.01 of the exact one.
    """
    return all_of(
        below(X0["exact"], 1e-12, what="exact trace less autodiff, 20 units (draw)"),
        above(X0["diagonal"], 1e-2, what="diagonal trace less its entries, 20 units (draw)"),
    )


@claim("C2", kind="exact", source=f"{DERIVED} (E2, E4)")
def one_unit_is_exact(X0: xr.Dataset) -> Check:
    """For one unit without an output bias the diagonal trace is exact, and with the exact trace the
    hidden layer steps along the gradient of the error through all of the learning.

    Falsified by: a trace or a step off autodiff by 1e-12.
    """
    return all_of(
        below(X0["single"], 1e-12, what="diagonal trace less autodiff, one unit (draw)"),
        below(X0["meta"], 1e-12, what="step less the meta-gradient (draw)"),
    )


@claim("C3", kind="exact", source=f"{DERIVED} (E9)")
def classes_couple(X0: xr.Dataset) -> Check:
    """With softmax outputs the exact trace, whose classes are coupled, is that derivative, too.

    Falsified by: an entry off autodiff by 1e-12.
    """
    return below(X0["softmax"], 1e-12, what="trace less autodiff, 3 classes (draw)")


@claim("C4", kind="exact", source=f"{PAPER}, its generalisation of backpropagation (E7)")
def mix_goes_over_into_descent(X0: xr.Dataset) -> Check:
    """With lambda = 1 the rule is gradient descent; with lambda = 0 the hidden layer stands still
    at the first example and moves from the second on.

    Falsified by: parameters 1e-12 off gradient descent after 30 examples, a first move, or none at
    the second example.
    """
    return all_of(
        below(X0["descent"], 1e-12, what="mix 1 less gradient descent (draw)"),
        near(X0["first"], 0, absolute=0, what="first move (draw)"),
        above(X0["second"], 1e-6, what="second move (draw)"),
    )


@claim("C5", kind="exact", source=f"{DERIVED} (E6)")
def trace_forgets(X0: xr.Dataset) -> Check:
    """Without errors a trace is multiplied by 1 - eta phi^2 at every example, so that it fades if
    eta phi^2 < 2 and grows beyond.

    Falsified by: what is left of a trace of ones 1e-9 off the product, after 8 examples.
    """
    return near(X0["left"], X0["left_theory"], absolute=1e-9, what="trace (eta, draw, unit)")


@claim("C6", kind="empirical", source=f"{PAPER}, figures of the drift", paper_size_at="full")
def features_are_kept(X1: xr.Dataset) -> Check:
    """Over six stages crossprop moves the hidden layer at most a quarter as far, squared, as
    backpropagation, and the output layer at least 1.5 times as far; its factored form moves the
    hidden layer less than a twentieth.

    Falsified by: a ratio beyond these, or below 0.03 (0.0005), as a hidden layer that is frozen has
    it; or crossprop within 4 times the factored form.
    """
    cross, factored = (ratio(X1, "features", name) for name in ("crossprop", "factored"))
    return all_of(
        within(cross, 0.03, 0.25, what="hidden layer, crossprop / backpropagation"),
        within(factored, 5e-4, 0.05, what="hidden layer, factored / backpropagation"),
        above(cross / factored, 4, what="hidden layer, crossprop / factored"),
        above(ratio(X1, "outputs", "crossprop"), 1.5, what="output layer, crossprop"),
        above(ratio(X1, "outputs", "factored"), 1.5, what="output layer, factored"),
    )


@claim("C7", kind="empirical", source=f"{PAPER}, learning curves", paper_size_at="full")
def it_learns_and_remembers(X1: xr.Dataset) -> Check:
    """Crossprop ends within 1.35 of backpropagation's loss, both below 40 % of the variance of the
    targets, and every learner does better at its second visit to each task.

    Falsified by: a loss at the end of the last stage, or of a second visit, beyond these.
    """
    end = ends(X1, "loss")
    last = end.isel(stage=-1)
    both = last.sel(learner=["backpropagation", "crossprop"])
    first, second = (end.isel(stage=slice(k, k + 3)).values for k in (0, 3))
    return all_of(
        below(
            last.sel(learner="crossprop") / last.sel(learner="backpropagation"),
            1.35,
            what="final loss, crossprop / backpropagation",
        ),
        below(both / X1["variance"].mean(), 0.4, what="final loss / variance (learner)"),
        below(second / first, 1, what="loss, second visit / first (learner, task)"),
    )


@claim("C8", kind="empirical", source=f"{PAPER}, mixing", paper_size_at="full")
def mixing_interpolates(X1: xr.Dataset) -> Check:
    """The hidden layer moves the farther the more of backpropagation is mixed in.

    Falsified by: a squared distance that does not rise from lambda = 0 over 1/2 to 1.
    """
    last = X1["features_mean"].isel(example=-1)
    order = last.sel(learner=["crossprop", "half of each", "backpropagation"]).values
    return above(order[1:] / order[:-1], 1, what="||U - U_0||^2 over the one before (mix)")


@claim("C9", kind="empirical", source=f"{PAPER}, continual classification", paper_size_at="none")
def digits_keep_their_features(X2: xr.Dataset) -> Check:
    """On digits whose labels are rolled on, factored crossprop moves the hidden layer at most 0.15
    times as far, squared, as backpropagation, and both learn: at most 25 % and 10 % of mistakes at
    the end of a stage.

    Falsified by: a ratio or a share of mistakes beyond these.

    Stated so: the paper used MNIST, whose place digits of 8x8 pixels take.

    Too small: with 300 images a stage ends before the factored form has learnt it.
    """
    end = ends(X2, "mistakes")
    return all_of(
        below(ratio(X2, "features", "factored"), 0.15, what="hidden layer, factored"),
        below(end.sel(learner="backpropagation"), 0.10, what="mistakes, backpropagation (stage)"),
        below(end.sel(learner="factored"), 0.25, what="mistakes, factored (stage)"),
    )
