"""A problem from words: data by name or file, a network as text, and everything between."""

from __future__ import annotations

import inspect
from typing import Any

from thalweg.core.arguments import framework
from thalweg.core.errors import InputError, require
from thalweg.models import MLP, parse_model
from thalweg.models.given import TAKEN, as_model
from thalweg.problems.data.data import Data
from thalweg.problems.data.files import SOURCES, read_data
from thalweg.problems.problem import Supervised, supervised

OF_THE_MODEL = {"activation": "tanh", "bias": True, "initialiser": "xavier-uniform"}


def problem(
    data: Any = "digits",
    *,
    target: str | None = None,
    inputs: str | None = None,
    drop: str | None = None,
    one_hot: str | None = None,
    drop_gaps: bool = False,
    missing: str | None = None,
    header: bool | None = None,
    task: str = "auto",
    standardize: bool = False,
    scale_target: bool = False,
    samples: int | None = None,
    classes: Any = None,
    split: str | None = None,
    model: Any = "mlp:64-64",
    activation: str = "tanh",
    bias: bool = True,
    initialiser: str = "xavier-uniform",
    loss: Any = None,
    precision: str = "float64",
    microbatch: int | None = None,
) -> Supervised:
    """A network on data, each in words or as an object, as a problem.

    The objective is the mean over the examples of the loss. What is read is checked once, here.

    Args:
        data: "digits" (real, comes along), "mnist5k", "mnist", "cifar10", openml:NAME, or a path
            ending in .npz, .csv, .tsv or .parquet; in Python whatever `thalweg.problems.read_data`
            reads.
        target: Column (tables) or key (.npz) to predict; several columns with commas.
        inputs: Columns (tables) or key (.npz) of the features; by default all but the target.
        drop: Columns to leave out of the features; several with commas.
        one_hot: Columns to encode as 0 and 1 per value; "all" for all text.
        drop_gaps: Leave out rows with missing values, and count them.
        missing: Words for a missing value in a text file, with commas; "" for none but the empty
            cell. By default those of pandas, as NA and None.
        header: Whether a text file begins with the names of its columns; by default it must.
        task: "classification" or "regression"; "auto" tells them apart by the target.
        standardize: Shift and scale every feature of a file to mean 0 and deviation 1.
        scale_target: Shift and scale the numeric target of a file to mean 0 and deviation 1.
        samples: Use only so many examples.
        classes: Use only the examples of these classes, several with commas, as in 3,8.
        split: train or test, of data that have such parts (mnist5k, mnist, cifar10).
        model: mlp:64-64, linear:20-20, or conv:6k5s2p2-16k5s2/120-84; in Python any network that
            `thalweg.problems.supervised` takes.
        activation: tanh, relu, gelu, softplus, ...
        bias: Whether layers have biases.
        initialiser: xavier-uniform, he-normal, orthogonal, ...
        loss: cross-entropy or squared-error; by default the one that fits the task. In Python a
            function of one example's outputs and target, too.
        precision: float64 or float32.
        microbatch: How many examples to work on at a time, where memory is short; the results are
            the same up to rounding.

    Returns:
        The problem: `supervised` of the network and the examples.

    Raises:
        InputError: On any word, data or network that does not fit: one sentence.

    Examples:
        >>> problem = tw.problem((np.eye(2), np.array([[1.0], [2.0]])), model="linear:")
        >>> float(problem.objective([{"weight": jnp.zeros((1, 2))}]))  # mean of 1/2 and 4/2
        1.25
        >>> tw.problem("digits", samples=20, model="conv:2k3").inputs.shape
        (20, 1, 8, 8)
    """
    words: dict[str, Any] = {"activation": activation, "bias": bias, "initialiser": initialiser}
    net = parse_model(model, **words) if isinstance(model, str) else _given(model, words)
    given = {
        "target": target, "inputs": inputs, "drop": drop, "one_hot": one_hot,
        "drop_gaps": drop_gaps, "missing": missing, "header": header, "task": task,
        "standardize": standardize, "scale_target": scale_target,
    }  # fmt: skip
    plain = (None, False, "auto")
    options: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if (value is not None if name == "header" else value not in plain)
    }
    if "standardize" in options:
        options["standardize"] = "feature"
    if isinstance(data, Data):
        require(
            not options and samples is None and classes is None and split is None,
            "these examples are ready; give options to problems.read_data",
        )
        return supervised(net, data, loss, precision=precision, microbatch=microbatch)
    choice = {"samples": samples, "classes": classes, "split": split}
    options |= {name: value for name, value in choice.items() if value is not None}
    if isinstance(data, list) and len(data) == 2:
        data = tuple(data)
    readings = [options]
    if isinstance(data, str) and data in SOURCES:
        own = [name for name in options if name not in choice]
        require(
            not own,
            f"{data} brings its own target and scale; leave out "
            f"{' and '.join(f'{name}=' for name in own)}, which is for your own files",
        )
        if "image" in inspect.signature(SOURCES[data]).parameters:
            shapes = [not isinstance(net, MLP)] if isinstance(model, str) else [False, True]
            readings = [options | {"image": image} for image in shapes]
    return _first_that_fits(net, data, readings, loss, precision, microbatch)


def _given(model: Any, words: dict[str, Any]) -> Any:
    """A network that is an object, to which words of a model say nothing."""
    said = [f"{name}=" for name, value in words.items() if value != OF_THE_MODEL[name]]
    require(
        not said,
        f"{' and '.join(said)} came beside a model that is made already; set "
        f"{'it' if len(said) == 1 else 'them'} where the model is made, or give the model as text",
    )
    return model if framework(model) in TAKEN else as_model(model)  # those see the examples first


def _first_that_fits(
    net: Any,
    data: Any,
    readings: list[dict[str, Any]],
    loss: Any,
    precision: str,
    microbatch: int | None,
) -> Supervised:
    """The problem, images flat or not as the network takes them; else why it takes neither."""
    refusals: list[InputError] = []
    for options in readings:
        examples = read_data(data, **options)
        try:
            return supervised(net, examples, loss, precision=precision, microbatch=microbatch)
        except InputError as error:
            refusals.append(error)
    raise refusals[0]
