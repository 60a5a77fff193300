"""Data frames and bunches: the same examples whatever library holds them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn import datasets
from sklearn.utils import Bunch

from thalweg.core.errors import InputError
from thalweg.models import mlp
from thalweg.problems import read_data, supervised
from thalweg.problems.data.reading import what_was_read

FRAME = pd.DataFrame(
    {
        "a": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "n": pd.array([1, 2, 3, 4, 5, 7], "Int64"),
        "flag": [True, False, True, True, False, False],
        "colour": ["red", "blue", "red", "green", "blue", "red"],
        "size": pd.Categorical(["S", "L", "S", "M", "L", "S"], ["S", "M", "L"], ordered=True),
        "y": [1.5, 2.5, 0.5, 3.5, 4.5, 5.5],
    }
)
LIBRARIES = {
    "pandas": lambda frame: frame,
    "pandas, other index": lambda frame: frame.set_axis(np.arange(len(frame))[::-1], axis=0),
    "polars": pl.from_pandas,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


@pytest.fixture(params=LIBRARIES)
def frame(request):
    return LIBRARIES[request.param](FRAME)


def refused(words, source, **options):
    with pytest.raises(InputError, match=words) as caught:
        read_data(source, **options)
    assert "\n" not in str(caught.value)


def test_numbers_and_labels(frame):
    data = read_data(frame, target="y", inputs="a,n,flag")
    np.testing.assert_array_equal(data.inputs, FRAME[["a", "n", "flag"]].to_numpy(float))
    np.testing.assert_array_equal(data.targets[:, 0], FRAME["y"])
    assert read_data(frame, target="flag", inputs="a").classes == ("False", "True")
    colour = read_data(frame, target="colour", inputs=["a"])
    assert [colour.classes[i] for i in colour.targets] == FRAME["colour"].tolist()
    size = read_data(frame, target="size", drop=["colour", "y"], standardize="feature", samples=4)
    assert set(size.classes) == {"S", "M", "L"}
    assert abs(size.inputs.mean()) < 1e-15


def test_one_hot_is_one_column_per_value(frame):
    data = read_data(frame, target="y", one_hot="all")
    by_hand = pd.get_dummies(FRAME[["colour"]], dtype=float).to_numpy()
    np.testing.assert_array_equal(data.inputs[:, 3:6], by_hand)
    assert data.description["one_hot"]["colour"] == ["blue", "green", "red"]
    assert sorted(data.description["one_hot"]["size"]) == ["L", "M", "S"]
    np.testing.assert_array_equal(data.inputs[:, 3:6].sum(axis=1), 1)
    np.testing.assert_array_equal(data.inputs[:, 6:].sum(axis=1), 1)
    some = read_data(frame, target="y", one_hot="colour, flag", drop="size")
    assert some.inputs.shape == (6, 2 + 2 + 3)
    assert some.description["one_hot"]["flag"] == ["False", "True"]
    refused(
        "'size' .such as 'S'. .*one_hot='size' .* drop='size'", frame, target="y", one_hot="colour"
    )
    refused("'y' is the target", frame, target="y", one_hot="y")
    refused(
        "'a' holds fractions, which are no categories", frame, target="y", inputs="a", one_hot="a"
    )
    refused("'n' has another value in each of 6 rows", frame, target="y", one_hot="n", inputs="n")


@pytest.mark.parametrize("library", LIBRARIES)
def test_gaps_are_counted_in_the_columns_used(library):
    holes = FRAME.copy()
    holes.loc[1, "a"], holes.loc[3, "colour"], holes.loc[4, "y"] = np.nan, None, None
    holes.loc[5, "n"] = pd.NA
    table = LIBRARIES[library](holes)
    refused(r"missing .*'n' \(1 of 6 rows\).*drop_gaps=True", table, target="y", inputs="n")
    data = read_data(table, target="y", one_hot="colour", drop="size,n", drop_gaps=True)
    assert data.targets[:, 0].tolist() == [1.5, 0.5, 5.5]
    assert data.description["dropped_rows"] == {
        "count": 3, "of": 6, "missing_in": {"a": 1, "colour": 1, "y": 1}
    }  # fmt: skip


def test_features_are_chosen_once(frame):
    refused("give one", frame, target="y", inputs="a", drop="n")
    refused("'y' is the target", frame, target="y", drop="y")
    refused("no column 'm'", frame, target="y", drop="m")
    refused("no feature columns", frame, target="y", drop="a,n,flag,colour,size")
    refused("Did you mean 'one_hot'", frame, target="y", onehot="all")
    refused("unknown option", frame, target="y", header=True)


def test_what_is_no_frame():
    refused("LazyFrame came; .*collected", pl.from_pandas(FRAME).lazy(), target="y")
    refused("int came", 5, target="y")
    refused("more than one column is named a", FRAME.set_axis(list("aabcde"), axis=1), target="b")
    refused("more than one column is named 1", FRAME.set_axis([1, "1", 2, 3, 4, 5], axis=1),
            target="2")  # fmt: skip
    nameless = pd.DataFrame(np.arange(12.0).reshape(4, 3) ** 2)
    assert read_data(nameless, target="2").targets[:, 0].tolist() == [4, 25, 64, 121]


@pytest.mark.parametrize("column", [[1j, 2, 3], [[1], [2], [3]], pd.to_datetime(["2020"] * 3),
                                    pd.to_timedelta([1, 2, 3])])  # fmt: skip
def test_columns_that_are_neither_numbers_nor_text(column):
    frame = pd.DataFrame({"a": [1, 2, 3], "c": column})
    refused("'c'", frame, target="a")
    refused("target column 'c' holds", frame, target="c")
    if not isinstance(column, list) or column[0] != [1]:
        refused("no categories", frame, target="a", one_hot="c")


def test_decimals_and_objects():
    import decimal

    values = [decimal.Decimal("0.1"), decimal.Decimal("2.5"), decimal.Decimal(3)]
    frame = pd.DataFrame({"a": values, "b": np.array([1, 2**70, 3.5], object), "y": [1.0, 2, 5]})
    np.testing.assert_array_equal(read_data(frame, target="y").inputs[:, 0], [0.1, 2.5, 3])
    arrow = pa.table({"a": pa.array(values, pa.decimal128(5, 2)), "y": [1.0, 2, 5]})
    np.testing.assert_array_equal(read_data(arrow, target="y").inputs[:, 0], [0.1, 2.5, 3])


# ---- bunches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("as_frame", [False, True])
def test_bunches_of_scikit_learn(as_frame):
    iris = datasets.load_iris(as_frame=as_frame)
    data = read_data(iris)
    np.testing.assert_array_equal(data.inputs, np.asarray(iris.data))
    np.testing.assert_array_equal(data.targets, np.asarray(iris.target))
    assert data.classes == (("0", "1", "2") if as_frame else ("setosa", "versicolor", "virginica"))
    sugar = read_data(datasets.load_diabetes(as_frame=as_frame), samples=9, standardize="feature")
    assert (sugar.task, sugar.inputs.shape) == ("regression", (9, 10))


def test_a_bunch_without_a_frame_has_no_columns():
    refused("as_frame=True", datasets.load_iris(), target="petal")
    refused("drop= is for data frames", datasets.load_iris(), drop="petal")
    labels = np.array([1, 2, 4] * 4)
    data = read_data(
        Bunch(data=np.arange(12.0), target=labels, target_names=np.array(["a", "b", "c"]))
    )
    assert data.classes == ("1", "2", "4")  # the names belong to 0, 1, 2


def opened(monkeypatch, answer):
    asked = []

    def fetch(**options):
        asked.append(options)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    return asked


def test_openml_through_its_client(monkeypatch):
    frame = FRAME[["a", "n", "colour"]]
    bunch = Bunch(data=frame[["a", "n"]], target=frame["colour"], frame=frame,
                  details={"name": "paint", "version": "3", "id": "77"})  # fmt: skip
    asked = opened(monkeypatch, bunch)
    data = read_data("openml:paint", version=3, samples=3)
    assert asked == [{"name": "paint", "version": 3, "as_frame": True}]
    assert data.description["source"] == "OpenML: name paint, version 3, id 77"
    assert (data.name, data.classes) == ("paint", ("blue", "green", "red"))
    number = read_data("openml:77", target="n", drop="colour", task="regression")
    assert number.inputs.shape == (6, 1)
    assert asked[1]["data_id"] == 77
    untargeted = Bunch(data=frame, target=None, frame=frame, details={})
    opened(monkeypatch, untargeted)
    refused("which column is the target", "openml:paint")
    assert read_data("openml:paint", target="n", drop="colour", task="regression").name == "paint"


@pytest.mark.parametrize(
    "fault",
    [OSError("no route\nto host"), ValueError("a"), UserWarning("Multiple active versions")],
)
def test_openml_out_of_reach_is_a_sentence(monkeypatch, fault):
    opened(monkeypatch, fault)
    refused("'paint' was not fetched", "openml:paint")


# ---- labels of arrays ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes", "absent"),
    [([1, 2, 3], "123", None), ([0, 1, 3], "013", [2]), ([-1, 1], ["-1", "1"], None),
     ([5, 7], "57", [6]), (["b", "a"], "ab", None), ([True, False], ["False", "True"], None),
     (np.array([2**63, 1], np.uint64), ["1", str(2**63)], None)],
)  # fmt: skip
def test_labels_of_arrays_are_numbered_as_those_of_tables(labels, classes, absent):
    y = np.tile(np.array(labels), 4)
    problem = supervised(mlp([2]), (np.eye(len(y)), y))
    assert problem.targets.shape[1] == len(classes)
    source = dict(problem.source)
    assert source["classes"] == tuple(classes)
    assert source.get("labels_without_example") == (tuple(absent) if absent else None)
    table = read_data(pd.DataFrame({"a": np.arange(len(y)), "y": y}), target="y")
    assert table.classes == tuple(classes)
    names = [classes[i] for i in np.argmax(problem.targets, axis=1)]
    assert names == [str(v) for v in y.tolist()]


def test_as_many_labels_as_examples_are_quantities():
    with pytest.raises(InputError, match="21 different labels in 21 examples"):
        supervised(mlp([2]), (np.eye(21), np.arange(21)))


# ---- what was read ---------------------------------------------------------------------------


def test_the_first_line_tells_what_was_read():
    table = FRAME.copy()
    table.loc[0, "a"] = np.nan
    data = read_data(
        table, target="y", one_hot="all", drop="flag", drop_gaps=True, scale_target=True
    )
    assert what_was_read(data, "squared-error") == (
        "Read table: 5 rows, 8 features, target y from 0.5 to 5.5, scaled to mean 0 and deviation "
        "1 (regression), squared error. 1 of 6 rows were left out for missing values in a. "
        "Left out: flag. Encoded one-hot: colour (3 values), size (3 values)."
    )
    labels = read_data((np.eye(8), [0, 1, 3, 3] * 2), samples=6)
    assert what_was_read(labels, "cross-entropy") == (
        "Read arrays: 6 rows (all 8; 6 of these, the classes taking turns in file order), "
        "8 features, 3 classes (0, 1, 3; classification), cross entropy. "
        "No example has the label 2, which is no class."
    )
    two = read_data((np.eye(3) + 2.0**53, [[1, 2.0], [3, 2.0], [4, 2.0]]))
    assert what_was_read(two, "squared-error") == (
        "Read arrays: 3 rows, 3 features, target from 1 to 4, target from 2 to 2 (regression), "
        "squared error. The same in every row: target 1."
    )
    images = read_data("digits", samples=10, image=True)
    assert "inputs of shape 1x8x8, 10 classes (0, 1, 2" in what_was_read(images, "cross-entropy")
    exact = np.array([[2**53 + 1, 1], [5, -(2**53) - 1]])
    assert "2 whole numbers beyond 2^53 in the inputs lost digits" in what_was_read(
        read_data((exact, [1.5, 2.5])), "squared-error"
    )
