"""What there is: lists, what a name stands for, completion; whole words at any width."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Said

import thalweg as tw
from thalweg.cli import catalogue, layout
from thalweg.cli import names as kept_names
from thalweg.comparison import regime
from thalweg.core.aliases import ALIASES, plainly
from thalweg.core.errors import InputError, choose
from thalweg.dynamics.schedules import SCHEDULES
from thalweg.models.initialisers import INITIALISERS, LAWS
from thalweg.models.model import FAMILIES, FORMULAS
from thalweg.models.parse import FORMS
from thalweg.problems.data.files import SOURCES
from thalweg.studies import STUDIES

Says = Callable[..., Said]
TABLES: dict[str, Any] = {
    "activations": tw.models.ACTIVATIONS,
    "initialisers": INITIALISERS,
    "losses": tw.problems.LOSSES,
    "probes": tw.probes.PROBES,
    "studies": STUDIES,
}
ONE_OF = {"dynamics": "gradient_flow", "problems": "supervised", "oracles": "label_noise"}
# Names alone: each worker collects all tests, and what is said of a name is parsed where it is met.
EVERY = [(of, name) for of, found in catalogue.names_of(*catalogue.LISTS).items() for name in found]


def names(of: str) -> list[str]:
    return [entry.name for entry in catalogue.entries(of)]


def test_lists_are_the_tables() -> None:
    for of, table in TABLES.items():
        assert names(of) == list(table), of
    assert names("models")[: len(FORMS)] == list(FORMS)
    assert names("data") == [*SOURCES, "openml:NAME"]
    assert names("schedules") == list(SCHEDULES)
    assert names("regimes") == list(map(plainly, regime.REGIMES))
    families = ["power_tail", "stretched_exponential"]
    assert names("margin-losses") == [*tw.problems.MARGIN_LOSSES, *families]
    assert (list(FORMULAS), list(LAWS)) == (list(tw.models.ACTIVATIONS), list(INITIALISERS))


@pytest.mark.parametrize(
    ("of", "room", "kind"),
    [
        ("dynamics", "thalweg.dynamics", tw.dynamics.Dynamics),
        ("problems", "thalweg.problems", tw.problems.Problem),
        ("oracles", "thalweg.oracles", tw.oracles.Oracle),
    ],
)
def test_makers_are_those_that_python_finds(of: str, room: str, kind: type) -> None:
    """What the source names, against what the imported functions are annotated with."""
    module = importlib.import_module(room)
    made = set()
    for name in module.__all__:
        thing = getattr(module, name)
        told = getattr(thing, "__annotations__", {}).get("return")
        home = importlib.import_module(thing.__module__) if callable(thing) else module
        returned = getattr(home, told, None) if isinstance(told, str) else told
        if isinstance(returned, type) and issubclass(returned, kind):
            made.add(name)
    assert made <= set(names(of))
    for name in set(names(of)) - made:
        assert issubclass(getattr(module, name), kind)
        assert not inspect.isabstract(getattr(module, name))  # nobody can make one
    assert ONE_OF[of] in names(of)


def entry_of(of: str, name: str) -> catalogue.Entry:
    (entry,) = (entry for entry in catalogue.entries(of) if entry.name == name)
    return entry


@pytest.mark.parametrize(("of", "name"), EVERY)
def test_every_name_has_a_meaning_and_a_use(of: str, name: str) -> None:
    entry = entry_of(of, name)
    assert 3 <= len(entry.meaning) <= 400
    assert "\n" not in entry.meaning
    assert "see `" not in entry.meaning
    assert entry.use
    for line in entry.use:
        place = re.match(r"thalweg\.(\w+)\.(\w+)\(", line)
        if place:
            assert callable(getattr(getattr(tw, place[1]), place[2]))


def test_a_formula_is_that_of_the_function() -> None:
    """Read as Python, the formulas without words give what the activations give."""
    import math

    words = {"exp": math.exp, "max": max, "tanh": math.tanh, "sin": math.sin, "ln": math.log}
    for name in ("tanh", "relu", "silu", "sigmoid", "sin"):
        text = re.sub(r"(tanh|sin) z", r"\1(z)", FORMULAS[name])
        for z in (-1.5, 0.25, 2.0):
            expected = float(tw.models.ACTIVATIONS[name].function(z))
            assert eval(text, words | {"z": z}) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("word", ["edge of stability", "edge-of-stability", "edge", "Catapult"])
def test_the_words_of_a_verdict_are_explained(word: str, thalweg_says: Says) -> None:
    said = thalweg_says("show", word)
    assert said.code == 0
    assert "a regime" in said.out
    assert "threshold" in said.out


def test_the_rules_told_have_the_numbers_that_judge() -> None:
    told = {name: " ".join(text.split()) for name, text in regime.MEANINGS.items()}
    assert f"{regime.EDGE:g} of it or above in at least a fifth" in told["edge of stability"]
    assert regime.EDGE_SHARE == 1 / 5
    assert f"above {regime.GROWTH:g} times its start" in told["divergent"]
    assert f"to {regime.FALLEN:g} of its largest" in told["divergent"]
    assert (
        f"{inspect.signature(tw.compare).parameters['eps'].default:.0%}".replace("%", " %")
        in told["on the flow"]
    )


@pytest.mark.parametrize("of", catalogue.LISTS)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_lists_keep_words_whole(
    of: str, width: int, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    said = thalweg_says("list", of)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    told = " ".join(said.out.split())
    for entry in catalogue.entries(of):
        assert entry.name in said.out.split()
        assert entry.meaning in told  # every word, whole and in order
        assert set(entry.also) <= set(re.split(r"[\s,.]+", said.out)) | {"sgd+momentum"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_studies_keep_words_whole(
    width: int, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch, desk: Path
) -> None:
    from thalweg.studies import card_of

    monkeypatch.setenv("COLUMNS", str(width))
    said = thalweg_says("studies")
    assert (said.code, said.err) == (0, "")
    assert max(map(len, said.out.splitlines())) <= width
    told = " ".join(said.out.split())
    for slug in STUDIES:
        assert f"{slug} {card_of(slug).question} quick about" in told
    assert told.count("not run here yet") == len(STUDIES)


def test_list_alone_counts(thalweg_says: Says) -> None:
    said = thalweg_says("list")
    assert said.code == 0
    for of in catalogue.LISTS:
        assert re.search(rf"^{of} +{len(names(of))}: {names(of)[0]}", said.out, re.MULTILINE)


def test_a_question_ends_with_its_mark(thalweg_says: Says) -> None:
    said = thalweg_says("list", "studies").out
    assert "?" in said
    assert "?." not in said


@pytest.mark.parametrize("word", ["loss", "losses", "lo", "Losses"])
def test_lists_by_their_beginning(thalweg_says: Says, word: str) -> None:
    assert "squared-error" in thalweg_says("list", word).out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "p"], "list 'p' may be probes or problems; give more of its name"),
        (["list", "probs"], "unknown list 'probs'. Did you mean"),
        (["list", ""], "unknown list ''"),
        (["show", "sharpnes5"], "nothing is named 'sharpnes5'. Did you mean 'sharpness'?"),
        (["show", "kernel"], "'kernel' may be kernel-alignment or kernel-drift or"),
        (["show", "s"], "give more of the name"),
        (["show", ""], "nothing is named ''"),
        (["show", "sharpness", "--of", "losses"], "nothing is named 'sharpness'"),
        (["show", "sharpness", "--of", "x"], "unknown list 'x'"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    thalweg_says: Says, arguments: list[str], words: str
) -> None:
    said = thalweg_says(*arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("learning-rate", "As Optax takes it."),
        ("--lr", "learning-rate, an option of thalweg diagnose"),
        ("step_size", "Step size of gradient descent"),
        ("schedule", "What the learning rate is multiplied by at each step"),
        ("optimizer", "optimizer, an option of thalweg diagnose"),
    ],
)
def test_what_is_an_option_is_shown_as_one(thalweg_says: Says, word: str, words: str) -> None:
    said = thalweg_says("show", "--", word)
    assert (said.code, said.err) == (0, "")
    assert words in said.out
    flag = next(line for line in said.out.splitlines() if line.startswith("$ thalweg diagnose dig"))
    assert flag.split()[4] in thalweg_says("diagnose", "--help").out


def test_how_a_probe_is_made_names_what_it_takes(thalweg_says: Says) -> None:
    taken = inspect.signature(tw.probes.sharpness).parameters.values()
    told = ", ".join(f"{p.name}={p.default!r}" for p in taken)
    assert f"thalweg.probes.sharpness({told})" in thalweg_says("show", "sharpness").out


@pytest.mark.parametrize(("of", "name"), EVERY)
def test_everything_can_be_shown(
    of: str, name: str, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every word of a docstring, whole and in order; examples as they stand, however wide."""
    entry = entry_of(of, name)
    width = {"a": 80, "s": 120}.get(entry.name[0].lower(), 60)
    monkeypatch.setenv("COLUMNS", str(width))
    said = thalweg_says("show", entry.name, "--of", entry.of)
    assert (said.code, said.err) == (0, "")
    assert " ".join(entry.text.split()) in " ".join(said.out.split())
    for line in said.out.splitlines():
        long_word = len(line.split()) == 1 or not line.strip()
        example = line.strip().startswith((">>>", "...")) or line.strip() in entry.text
        assert len(line) <= width or long_word or example, line
    told = " ".join(said.out.split())
    assert all(" ".join(line.split()) in told for line in entry.use)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("sharpness", "Largest Hessian eigenvalue, signed, of the full objective."),
        ("component-norms", "Norms of the components at a node, in decreasing order."),
        ("singular-values", "Singular values of every weight of two axes or more."),  # next: W
        ("mlp", "mlp:64-64 (hidden widths)"),
    ],
)
def test_a_summary_that_the_next_sentence_repeats_is_left_out(
    thalweg_says: Says, name: str, line: str
) -> None:
    assert thalweg_says("show", name).out.splitlines()[1] == line


def test_no_word_is_lost_with_a_summary() -> None:
    for entry in (entry for of in catalogue.LISTS for entry in catalogue.entries(of)):
        words = [set(re.findall(r"\w{4,}", text.lower())) for text in (entry.told(), entry.text)]
        assert words[0] == words[1], entry.name


def test_show_of_a_study_has_its_claims(thalweg_says: Says) -> None:
    from thalweg.studies import study_named

    study = study_named("wu2020")
    told = " ".join(thalweg_says("show", "wu2020").out.split())
    assert study.claims
    for claim in study.claims:
        assert f"{claim.id} {claim.statement}" in told
    assert study.source in told
    assert all(text in told for text in study.deviates)


def test_a_word_in_several_lists_says_so(thalweg_says: Says) -> None:
    said = thalweg_says("show", "linear")
    told = " ".join(said.out.split())
    assert "'linear' is in several lists: a model (linear), an activation (linear)" in told
    assert "z itself" in told
    assert "A deep linear network" in told
    alone = thalweg_says("show", "linear", "--of", "act").out
    assert "several" not in alone
    assert "deep linear network" not in alone


@pytest.mark.parametrize(
    ("word", "shown"),
    [("swish", "silu, an activation"), ("mse", "squared-error, a loss"), ("CE", "cross-entropy"),
     ("bce", "binary-cross-entropy"), ("smallest-e", "smallest-eigenvalue, a probe"),
     ("kaiming_normal", "he-normal"),
     ("lambda_max", "sharpness"), ("elkabetz", "elkabetz2021-continuous-discrete, a study"),
     ("gradient-descent", "gradient_descent, a process that moves parameters")],
)  # fmt: skip
def test_aliases_and_beginnings_are_shown(thalweg_says: Says, word: str, shown: str) -> None:
    said = thalweg_says("show", word)
    assert said.code == 0
    assert shown in said.out


# ---- aliases -----------------------------------------------------------------------------------

FAMILY = dict.fromkeys(FAMILIES)
OF: dict[str, dict[str, Any]] = {
    "activation": dict(tw.models.ACTIVATIONS),
    "initialiser": dict(INITIALISERS),
    "loss": dict(tw.problems.LOSSES),
    "model": dict(FORMS),
    "probe": dict(tw.probes.PROBES),
}


@pytest.mark.parametrize("what", OF)
def test_every_alias_means_what_is_there(what: str) -> None:
    for alias, means in ALIASES[what].items():
        assert alias == plainly(alias)
        assert alias not in OF[what], "a name is no alias"
        assert set(means) <= set(OF[what])
        if len(means) == 1:
            for typed in (alias, alias.upper(), alias.replace("-", "_")):
                assert choose(typed, OF[what], what) is OF[what][means[0]]
        else:
            with pytest.raises(InputError, match=f"may be {' or '.join(means)}"):
                choose(alias, OF[what], what)


def test_aliases_reach_the_nets_as_names() -> None:
    """The same net, whatever its parts were called: nothing is compiled twice."""
    one = tw.models.mlp([4], "swish", initialiser="kaiming_normal")
    assert one == tw.models.mlp([4], "silu", initialiser="he-normal")
    assert tw.models.mlp([4], "lrelu:0.3") == tw.models.mlp([4], "leaky-relu:0.3")
    assert tw.models.parse_model("CNN:4k3", "SiLU") == tw.models.parse_model("conv:4k3", "silu")
    assert tw.problems.digits(one, "mse", samples=20).loss.name == "squared-error"


# ---- completion --------------------------------------------------------------------------------

SHELL = """
import sys
from thalweg.cli import main
try:
    main()
finally:
    print("heavy", [n for n in ("jax", "numpy", "pandas", "xarray") if n in sys.modules])
"""


def completed(line: str, shell: str = "bash") -> list[str]:
    words = line.split(" ")
    env = os.environ | {"_THALWEG_COMPLETE": f"complete_{shell}"}
    env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    env |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", SHELL], capture_output=True, text=True, check=False, env=env
    )
    assert done.stderr == ""
    *found, heavy = done.stdout.splitlines()
    assert heavy == "heavy []"
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("thalweg sho", ["show"]),
        ("thalweg list p", ["probes", "problems"]),
        ("thalweg show shar", ["sharpness", "sharpness_reduction_flow"]),
        ("thalweg study elk", ["elkabetz2021-continuous-discrete"]),
        ("thalweg verify wu2020-weight-normalization ri", ["riedi2022-singular-values"]),
        ("thalweg show linear --of act", ["activations"]),
        ("thalweg diagnose mnist5", ["mnist5k"]),
        ("thalweg diagnose digits --activation si", ["silu", "sigmoid", "sin"]),
        ("thalweg diagnose digits --optimizer ada", ["adam", "adamw", "adagrad", "adadelta"]),
        ("thalweg diagnose digits --smallest", ["--smallest-every"]),
    ],
)
def test_a_shell_is_told_how_a_line_goes_on(line: str, expected: list[str]) -> None:
    assert completed(line) == expected


def test_names_are_read_again_when_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when what was kept is damaged, and only then; a folder that is a file keeps nothing."""
    package, folder = tmp_path / "package", tmp_path / "kept"
    (package / "room").mkdir(parents=True)
    (package / "room" / "a.py").write_text("x = 1\n")
    monkeypatch.setenv("THALWEG_CACHE", str(folder))
    monkeypatch.setattr(kept_names, "PACKAGE", package)
    read: list[str] = []

    def asked(*lists: str) -> list[str]:
        read.clear()
        found = kept_names.names(lists, lambda of: read.append(of) or [f"{of}-1", "ü"])
        assert found == {of: [f"{of}-1", "ü"] for of in lists}
        return list(read)

    assert asked("a") == ["a"]
    assert asked("a", "b") == ["b"]
    assert asked("b", "a") == []
    (package / "room" / "a.py").write_text("x = 12\n")
    assert asked("a") == ["a"]
    assert asked("b") == ["b"]
    (package / "room" / "b.py").touch()
    assert asked("a", "b") == ["a", "b"]
    os.utime(package / "room" / "b.py", (1e9, 1e9))
    assert asked("a", "b") == ["a", "b"]
    kept = folder / kept_names.FILE
    for damaged in (b"", b"[]", kept.read_bytes()[:-30], kept.read_bytes().replace(b"-1", b"-2")):
        kept.write_bytes(damaged)
        assert asked("a", "b") == ["a", "b"]
        assert asked("a", "b") == []
    monkeypatch.setenv("THALWEG_CACHE", str(package / "room" / "a.py"))
    assert asked("a") == asked("a") == ["a"]
    monkeypatch.setenv("THALWEG_CACHE", "off")
    assert asked("a") == asked("a") == ["a"]


def test_a_shell_does_not_wait(request: pytest.FixtureRequest) -> None:
    """CPU seconds of an answer, Python's own start included; 0.3 on the machine it was made on.

    So from the second one on, when the names have been read. A slow or busy machine has more
    (`--budget`).
    """
    completed("thalweg show shar")
    before = os.times()
    completed("thalweg show shar")
    after = os.times()
    spent = after.children_user - before.children_user
    spent += after.children_system - before.children_system
    assert spent < 0.8 * request.config.getoption("--budget")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_given(
    thalweg_says: Says, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    """Which shell it is Typer reads off the processes above; here that is said."""
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    said = thalweg_says("--show-completion")
    assert (said.code, said.err) == (0, "")
    assert "_THALWEG_COMPLETE" in said.out


def test_blocks_of_a_docstring() -> None:
    text = "One\ntwo.\n\nArgs:\n    a: First\n        more.\n    b: Second.\n\nvalue  (), loss\n"
    text += "       goes on\nerror  ()\n\nExamples:\n    >>> f()\n    1"
    assert [block for block in layout.blocks(text) if block != (None, "")] == [
        (0, "One two."), (0, "Args:"), (4, "a: First more."), (4, "b: Second."),
        (0, "value  (), loss goes on"), (0, "error  ()"), (0, "Examples:"),
        (None, "    >>> f()"), (None, "    1"),
    ]  # fmt: skip
