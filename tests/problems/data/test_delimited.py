"""Text tables: what is read is right to the last digit, what has two readings is refused."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.problems.data.files import from_file

ROWS = [(0.25, -3.5, 7.75), (1.5, 2.25, 0.125), (1e-3, 4.0, 2.5), (12.0, 0.1, -6.25)]
PLAIN = "a,b,y\n" + "".join(f"{a!r},{b!r},{y!r}\n" for a, b, y in ROWS)


def told(tmp_path, content, target="y", ending=".csv", **options):
    path = tmp_path / f"table{ending}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return from_file(path, target=target, **options)


def same(data):
    np.testing.assert_array_equal(np.hstack([data.inputs, data.targets]), ROWS)


def refused(tmp_path, content, words, **options):
    with pytest.raises(InputError, match=words) as caught:
        told(tmp_path, content, **options)
    assert "\n" not in str(caught.value)


def quoted(text):
    return "\n".join(",".join(f'"{v}"' for v in line.split(",")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (PLAIN, None),
        (PLAIN.replace("\n", "\r\n"), None),
        (PLAIN.replace("\n", "\r"), None),
        (quoted(PLAIN), None),
        (PLAIN.replace(",", " , "), None),
        (PLAIN.replace(",", ";"), "separated by ';'"),
        (PLAIN.replace(",", "\t"), "separated by tab"),
        (PLAIN.replace(",", "|"), r"separated by '\|'"),
        ("sep=;\n" + PLAIN.replace(",", ";"), "line 1 names the separator"),
        ("sep=:\n" + PLAIN.replace(",", ":"), "line 1 names the separator ':'"),
        ("# measured, in May\n" + PLAIN, "line 1 skipped as comment"),
        ("% one\n\n// two\n" + PLAIN + "# end\n", "lines 1, 3, 9 skipped as comment"),
        ("# " + PLAIN, "'#' before the names left out"),
        (PLAIN.replace("\n", ",\n"), "an empty last column left out"),
        (PLAIN.replace(",", ";").replace(".", ","), "decimal commas in columns a, b, y"),
        (PLAIN.replace(",", "\t").replace(".", ","), "decimal commas in columns a, b, y"),
        (quoted(PLAIN).replace(".", ","), "decimal commas in columns a, b, y"),
        (PLAIN.encode("utf-16"), "UTF-16"),
        (PLAIN.replace(",", "\t").encode("utf-32"), "UTF-32; separated by tab"),
        (PLAIN.encode("utf-8-sig"), None),
    ],
)  # fmt: skip
def test_one_table_written_in_many_ways(tmp_path, content, how):
    data = told(tmp_path, content)
    same(data)
    said = "; ".join(data.description.get("format", []))
    assert not said if how is None else re.search(how, said)


def test_tab_separated_files_have_an_ending_of_their_own(tmp_path):
    same(told(tmp_path, PLAIN.replace(",", "\t"), ending=".TSV"))


def test_points_between_thousands_beside_decimal_commas(tmp_path):
    text = "a;Preis\n1;1.234,50\n2;99,9\n3;12.345.678,25\n4;7\n"
    data = told(tmp_path, text, target="Preis")
    assert data.targets[:, 0].tolist() == [1234.5, 99.9, 12345678.25, 7]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        # 1,234 is one and a bit, or a thousand and more
        ("x;y\n1,234;5\n2,345;6\n3,456;7\n", "'x' .such as '1,234'"),
        ("x;y\n1;1,234\n2;2,345\n3;3,456\n4;4,567\n", "numbers written as text, such as '1,234'"),
        ("x;y\n1,5;1.5\n2,5;2.5\n", "'x' has decimal commas and column 'y' decimal points"),
        ("Fläche,y\n1,5,2,5\n2,5,3,5\n", r"line 2 has 4 values \(decimal commas\?\), not 2"),
        ("a,b;y\n1,2;3\n4,5;6\n", r"separated by ',' or ';'; say which .* sep=;"),
        ("a b y\n1 2 3\n4 5 6\n", "separated by spaces"),
        ("a,y\n1,2\n3,4,5\n", "line 3 has 3 values, not 2"),
        ("a,b;y\n" + "1,2,3\n" * 3, "line 2 has 3 values"),
        (PLAIN.encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("größe,y\n1,2\n2,3\n".encode("latin-1"), "line 1 has the byte 0xf6"),
        ("a,y\n1,caf\xe9\n2,b\n".encode("cp1252"), "line 2 has the byte 0xe9"),
        ("sep=;\n" + PLAIN, "no column 'y'"),
    ],
)
def test_what_has_two_readings_is_refused(tmp_path, content, words):
    refused(tmp_path, content, words)


@pytest.mark.parametrize(
    "content",
    [
        "1,0.838,0.511\n2,0.59,0.9\n3,0.8,0.2\n",
        "5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,virginica\n",
        "-1;+2e5;.5\n3;4;6\n5;6;8\n",
        "2019,2020,2021\n10,20,30\n12,25,31\n",  # counts by year, or an example of a count
        "NA,1.5,2\n1,2.5,3\n2,3.5,5\n",
        "0,5;1;7\n1,5;2,25;8\n3,5;4,5;10\n",
    ],
)
def test_a_first_row_of_values_is_no_row_of_names(tmp_path, content):
    refused(tmp_path, content, "first row looks like values.*header=False.*header=True", target="1")
    rows = content.count("\n")
    data = told(tmp_path, content, target="column2", header=False, drop_gaps="NA" in content,
                drop="column3" if "setosa" in content else None)  # fmt: skip
    assert len(data.inputs) == rows - ("NA" in content)
    assert "column1" in data.description["format"][-1]
    names = content.split("\n")[0].split(";" if ";" in content else ",")
    if "setosa" not in content and "NA" not in content:
        assert len(told(tmp_path, content, target=names[1], header=True).inputs) == rows - 1


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("2019,2020,price\n1.5,2.5,3\n2.5,3.5,4\n3,3,5\n", "price"),
        ("2019,2020,2021\n1.5,2.5,3.5\n2.5,3.5,4.5\n", "2021"),
        ("0,1,2\n0.1,0.2,0.3\n0.3,0.4,0.5\n", "2"),
        ("id,2020,2021\n1,5,6\n2,7,8\n", "2021"),
    ],
)
def test_names_that_are_numbers(tmp_path, content, target):
    data = told(tmp_path, content, target=target, task="regression")
    last = [float(line.split(",")[-1]) for line in content.splitlines()[1:]]
    assert data.targets[:, 0].tolist() == last


def column(values, head="a,y\n"):
    return head + "".join(f'{i}.5,"{v}"\n' for i, v in enumerate(values))


NUMBERS = [f"{v:.2f}" for v in np.random.default_rng(0).normal(size=30)]


@pytest.mark.parametrize(
    ("stray", "example"),
    [(["<1.0"] * 2, "<1.0"), (["$1,294"], "$1,294"), (["n.d."] * 3, "n.d."), (["1,5"], "1,5"),
     (["12%"], "12%"), (["\u22125"], "\u22125"), (["5 kg"], "5 kg"), (["2020-01-01"], "2020"),
     (["1 234.5"], "1 234"), (['\u0661\u0662'], '\u0661'), (["yes"], "yes")],
)  # fmt: skip
def test_numbers_with_stray_text_are_no_classes(tmp_path, stray, example):
    values = NUMBERS + stray
    words = f"holds numbers, but text such as '{re.escape(example)}"
    refused(tmp_path, column(values), f"{words}.* in {len(stray)} of {len(values)} rows")
    kept = told(tmp_path, column(values), task="classification")
    assert len(kept.classes) == len(set(values))
    # The same words named as missing, the rows without them are left.
    if "," not in example:
        rest = told(tmp_path, column(values), missing=stray, drop_gaps=True)
        assert rest.targets[:, 0].tolist() == [float(v) for v in NUMBERS]
        assert rest.description["dropped_rows"]["count"] == len(stray)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"${1000 + 7 * i:,}" for i in range(30)], r"written as text, such as '\$1,000'"),
        ([f"{i}%" for i in range(30)], "written as text, such as '0%'"),
        ([f"\u2212{i}" for i in range(30)], "written as text"),
        ([f"{i} kg" for i in range(30)], "written as text, such as '0 kg'"),
        ([f"<{i % 3}" for i in range(30)], "written as text, such as '<0'"),
        ([f"word{i}" for i in range(30)], "30 different values in 30 rows, too many"),
        ([f"2020-01-{i + 1:02}" for i in range(30)], "30 different values in 30 rows, too many"),
        (["yes ", "yes"] * 15, "same value in all 30"),
    ],
)
def test_text_that_can_hardly_be_classes(tmp_path, values, words):
    refused(tmp_path, column(values), words)


@pytest.mark.parametrize(
    "values",
    [["yes", "no"] * 10, ["1st", "2nd", "3rd"] * 7, ["5 kg", "10 kg"] * 9, ["C1", "C2"] * 5,
     ["< 30 days", "> 30 days"] * 8, ["true", "false", "unknown"] * 4],
)  # fmt: skip
def test_text_that_is_classes(tmp_path, values):
    data = told(tmp_path, column(values))
    assert data.task == "classification"
    assert [data.classes[label] for label in data.targets] == values


def test_none_can_be_a_category(tmp_path):
    values = ["None", "NA", "shed"] * 6
    refused(tmp_path, column(values), r"missing .* 'y' \(12 of 18 rows\).*missing=")
    data = told(tmp_path, column(values), missing="")
    assert data.classes == ("NA", "None", "shed")
    only = told(tmp_path, column(values), missing="NA", drop_gaps=True)
    assert only.classes == ("None", "shed")
    assert only.description["dropped_rows"] == {"count": 6, "of": 18, "missing_in": {"y": 6}}


def test_whole_numbers_are_exact_or_told(tmp_path):
    big = [2**53 - 1, 2**53, 2**53 + 1, 2**63 + 1, 10**25 + 1]
    text = "a,y\n" + "".join(f"{v},{i}.5\n" for i, v in enumerate(big))
    data = told(tmp_path, text)
    assert data.inputs[:, 0].tolist() == [float(v) for v in big]
    assert data.description["rounded"] == {"a": 3}  # 2^53 + 1, 2^63 + 1, 10^25 + 1
    target = told(tmp_path, "a,y\n" + "".join(f"{i}.5,{v}\n" for i, v in enumerate(big)))
    assert target.description["rounded"] == {"y": 3}
    gaps = told(tmp_path, text.replace("0.5", ""), drop_gaps=True)
    assert gaps.inputs[:, 0].tolist() == [float(v) for v in big[1:]]


# ---- random tables ---------------------------------------------------------------------------


numbers = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-4)


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    rows=st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=6),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    comma=st.booleans(),
    excel=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_random_tables_in_any_dialect(tmp_path, rows, separator, quoting, comma, excel, encoding):
    """What comes back is what was written, or there is a sentence; never another number."""
    out = io.StringIO()
    out.write(f"sep={separator}\n" if excel else "")
    writer = csv.writer(out, delimiter=separator, quoting=quoting)
    writer.writerow(["a", "b", "y"])
    for row in rows:
        written = [np.format_float_positional(v, trim="0") for v in row]
        writer.writerow([v.replace(".", ",") for v in written] if comma else written)
    try:
        data = told(tmp_path, out.getvalue().encode(encoding), task="regression")
    except InputError as error:
        few = len({row[2] for row in rows}) < 2 and "same value" in str(error)
        assert few or (comma and "such as" in str(error))  # noqa: PT017
        return
    np.testing.assert_array_equal(np.hstack([data.inputs, data.targets]), rows)
