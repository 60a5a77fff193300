"""What there is, by name: read off the source of the tables and docstrings, without importing them.

An import of the networks, say, brings JAX and takes seconds; a list must answer at once, and a
shell that completes a word sooner still.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from thalweg.cli.declared import constant, declaration, docs, is_a, table, tree
from thalweg.core.aliases import ALIASES, plainly
from thalweg.core.errors import InputError, require, unknown


@dataclass(frozen=True)
class Entry:
    """One name of a list.

    Attributes:
        name: As it is typed.
        of: The list that it is in.
        told: Gives what it is: a line, then a docstring if there is one. Names alone come sooner.
        use: How it is used, a line for each way.
        also: What else people type for it.
    """

    name: str
    of: str
    told: Callable[[], str]
    use: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it is, at length; without a first line that the next sentence says again."""
        text = self.told()
        first, _, rest = text.partition("\n\n")
        again = re.split(r"\.\s", rest, maxsplit=1)[0]
        return rest if rest and _words(first) <= _words(again) else text

    @property
    def meaning(self) -> str:
        """The first paragraph, in one line."""
        return " ".join(self.told().split("\n\n")[0].split())


def _models() -> Iterator[Entry]:
    """The forms of text, then the networks that Python makes."""
    forms, module = constant("thalweg.models.parse", "FORMS"), "thalweg.models.examples"
    lambdas = {k: v for k, v in table(module, "MODELS").items() if isinstance(v, ast.Lambda)}
    makers = {key: _called(made.body) for key, made in lambdas.items()}
    for name, form in forms.items():
        told = partial(_beside, form, module, makers[name])
        yield _entry(name, "models", told, (f"--model {form.split()[0]}",), "model")
    for found in dict.fromkeys(makers[name] for name in makers if name not in forms):
        yield Entry(
            found, "models", partial(docs, module, found), (f"thalweg.models.{found}(...)",)
        )


def _formulas(of: str, module: str, name: str, what: str, option: str) -> Iterator[Entry]:
    for key, text in constant(module, name).items():
        yield _entry(key, of, partial(str, text), (f"{option} {key}",), what)


def _losses() -> Iterator[Entry]:
    for name, made in table("thalweg.problems.losses", "LOSSES").items():
        assert isinstance(made, ast.Call)
        told = partial(docs, "thalweg.problems.losses", _name(made.args[1]))
        yield _entry(name, "losses", told, (f"--loss {name}",), "loss")


def _margin_losses() -> Iterator[Entry]:
    """Those with a name, each told by the formula of its value, then the families of tails."""
    module, room = "thalweg.problems.margin_losses", "thalweg.problems"
    for name, made in table(module, "MARGIN_LOSSES").items():
        assert isinstance(made, ast.Call)
        use = (f"{room}.linear_classifier(X, {name!r})",)
        yield Entry(name, "margin-losses", partial(docs, module, _name(made.args[1])), use)
    for name in constant(room, "__all__"):
        _, node = declaration(room, name)
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node) == "MarginLoss":
            use = (f"linear_classifier(X, {room}.{name}(2.0))",)
            yield Entry(name, "margin-losses", partial(docs, room, name), use)


def _optimisers() -> Iterator[Entry]:
    module = "thalweg.dynamics.optimisers"
    others: dict[str, list[str]] = {}
    for alias, name in constant(module, "ALIASES").items():
        others.setdefault(name, []).append(alias)
    for name, made in table(module, "OPTIMISERS").items():
        assert isinstance(made, ast.Call)
        about = ast.literal_eval(made.args[0])
        rated = not any(k.arg == "rated" for k in made.keywords)  # the others search their steps
        given = ", 0.01" if rated else ""
        use = (f"--optimizer {name}", f"thalweg.dynamics.optimiser({name!r}{given})")
        yield Entry(name, "optimisers", partial(str, about), use, tuple(others.get(name, ())))


def _schedules() -> Iterator[Entry]:
    """Each with the numbers that it takes."""
    for name, made in table("thalweg.dynamics.schedules", "SCHEDULES").items():
        assert isinstance(made, ast.Call)
        about, given = ast.literal_eval(made.args[0]), {k.arg for k in made.keywords}
        numbers = ["warmup=0"] if "numbered" in given else ["steps", "warmup=0"]
        numbers += ["end=0"] if "ends" in given else []
        form = f"{name}(1000)" if numbers[0] == "steps" else f"{name}(warmup=100)"
        told = f"The learning rate {about}; takes {', '.join(numbers)}."
        use = (f'--schedule "{form}"', f'optimiser("adam", 1e-3, schedule="{form}")')
        yield Entry(name, "schedules", partial(str, told), use)


def _methods() -> Iterator[Entry]:
    """Each with what its theorem assumes and the step that it gives."""
    module = "thalweg.dynamics.methods.shelf"
    for name, made in table(module, "METHODS").items():
        assert isinstance(made, ast.Call)
        about, assumes, step = (ast.literal_eval(given) for given in made.args[:3])
        told = f"{about}; assumes: {assumes}; step: {step}."
        use = (f"thalweg.dynamics.method({name!r}, ...)", "thalweg rates")
        yield Entry(name, "methods", partial(str, told), use)


def _probes() -> Iterator[Entry]:
    for name, made in table("thalweg.probes", "PROBES").items():
        found = _name(made)
        use = (f"thalweg.probes.{found}({_takes('thalweg.probes', found)})",)
        yield _entry(name, "probes", partial(docs, "thalweg.probes", found), use, "probe")


def _makers(of: str, room: str, kind: str) -> Iterator[Entry]:
    """The functions of a room that return a kind of thing, and the classes of that kind."""
    for name in constant(room, "__all__"):
        if _makes(room, name, kind):
            yield Entry(name, of, partial(docs, room, name), (f"{room}.{name}(...)",))


def _oracles() -> Iterator[Entry]:
    """With the option, where what they take can be written down."""
    room = "thalweg.oracles"
    for entry in _makers("oracles", room, "Oracle"):
        _, node = declaration(room, entry.name)
        assert isinstance(node, ast.FunctionDef)
        takes = [ast.unparse(each) for each in node.args.args]
        typed = f'--oracle "{entry.name}(...)"' if takes else f"--oracle {entry.name}"
        written = not any("Callable" in each for each in takes)
        yield replace(entry, use=(typed, *entry.use) if written else entry.use)


def _data() -> Iterator[Entry]:
    module = "thalweg.problems.data.files"
    for name, made in table(module, "SOURCES").items():
        use = (f"thalweg diagnose {name}", f"thalweg.problems.read_data({name!r})")
        yield Entry(name, "data", partial(docs, module, _name(made)), use)
    yield Entry(
        "openml:NAME", "data", partial(docs, module, "openml"), ("thalweg diagnose openml:iris@1",)
    )


def _regimes() -> Iterator[Entry]:
    for name, text in constant("thalweg.comparison.regime", "MEANINGS").items():
        use = (
            "thalweg diagnose digits --step-size 0.3",
            "thalweg sweep digits --step-size 0.05:5:6log",
        )
        yield Entry(plainly(name), "regimes", partial(str, text), use)


def _studies() -> Iterator[Entry]:
    from thalweg.studies import STUDIES

    for slug in STUDIES:
        yield Entry(slug, "studies", partial(_of_the_card, slug), (f"thalweg study {slug}",))


def _of_the_card(slug: str) -> str:
    from thalweg.studies import card_of

    card = card_of(slug)
    parts = [card.question, card.title, card.source, card.answer]
    return "\n\n".join(part for part in parts if part)


LISTS: dict[str, Callable[[], Iterator[Entry]]] = {
    "models": _models,
    "activations": lambda: _formulas(
        "activations", "thalweg.models.model", "FORMULAS", "activation", "--activation"
    ),
    "initialisers": lambda: _formulas(
        "initialisers", "thalweg.models.initialisers", "LAWS", "initialiser", "--initialiser"
    ),
    "losses": _losses,
    "margin-losses": _margin_losses,
    "optimisers": _optimisers,
    "schedules": _schedules,
    "methods": _methods,
    "probes": _probes,
    "oracles": _oracles,
    "dynamics": lambda: _makers("dynamics", "thalweg.dynamics", "Dynamics"),
    "problems": lambda: _makers("problems", "thalweg.problems", "Problem"),
    "regimes": _regimes,
    "studies": _studies,
    "data": _data,
}
# Options whose values a shell completes, and the list that they are of.
VALUES = {
    "data": "data",
    "model": "models",
    "activation": "activations",
    "initialiser": "initialisers",
    "loss": "losses",
    "optimizer": "optimisers",
    "optimisers": "optimisers",
    "schedule": "schedules",
    "oracle": "oracles",
}
LISTED = ("optimisers",)  # of those the ones that take several, with commas


@functools.cache
def entries(of: str) -> tuple[Entry, ...]:
    """All names of a list; a unique beginning of the list's name will do.

    Raises:
        InputError: If there is no such list.
    """
    return tuple(LISTS[list_named(of)]())


def names_of(*lists: str) -> dict[str, list[str]]:
    """The names alone of these lists, which may have been kept from an earlier command."""
    from thalweg.cli.names import names

    return names(lists, lambda of: [entry.name for entry in entries(of)])


def list_named(word: str) -> str:
    """The list that a word means: its name, a unique beginning, or its singular."""
    plain = {"optimizers": "optimisers", "initializers": "initialisers"}.get(word, word)
    found = [each for each in LISTS if plain and each.startswith(plain.lower())]
    found = [plain] if plain in LISTS else found
    if len(found) > 1:
        raise InputError(f"list {word!r} may be {' or '.join(found)}; give more of its name")
    require(bool(found), unknown(word, LISTS, "list"))
    return found[0]


def named(
    word: str, of: str | None = None, beside: Callable[[], Iterable[Entry]] = tuple
) -> list[Entry]:
    """What a word names: exactly, else as an alias, else as a unique beginning; in every list.

    Args:
        word: What the user typed.
        of: The list to look in; all by default.
        beside: Gives what may be named in full beside all lists.

    Raises:
        InputError: If it names nothing, or is the beginning of several names.
    """
    plain = plainly(word.lstrip("-"))
    names = names_of(*LISTS) if of is None else {list_named(of): []}
    lists = [of for of, each in names.items() if plain in map(plainly, each)] or names
    everything = [entry for each in lists for entry in entries(each)]
    for known in (lambda: everything, tuple if of else beside):
        every = tuple(known())
        found = [e for e in every if plainly(e.name) == plain]
        found = found or [e for e in every if plain in map(plainly, e.also)]
        if found:
            return found
    begun = [e for e in everything if plain and plainly(e.name).startswith(plain)]
    several = sorted({e.name for e in begun})
    if len(several) > 1:
        raise InputError(f"{word!r} may be {_some(several)}; give more of the name")
    require(bool(begun), _unknown(word, [e.name for e in everything], of))
    return begun


def _unknown(word: str, names: list[str], of: str | None) -> str:
    import difflib

    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    lists = of or ", ".join(LISTS)
    return f"nothing is named {word!r}.{hint} `thalweg list` shows what there is, in {lists}"


def completing(option: str) -> Callable[[str], list[str]] | None:
    """What completes the value of an option, or of an argument; None where nothing is known."""
    if option not in VALUES:
        return None

    def complete(incomplete: str) -> list[str]:
        known = names_of(VALUES[option])[VALUES[option]]
        # Of a list the last one is being written.
        before, comma, begun = (
            incomplete.rpartition(",") if option in LISTED else ("", "", incomplete)
        )
        return [before + comma + name for name in known if name.startswith(begun)]

    return complete


def _words(text: str) -> set[str]:
    """The words of a sentence that carry its meaning, in small letters."""
    return set(re.findall(r"\w+", text.lower())) - {"a", "an", "and", "the", "of", "or"}


def _some(names: list[str]) -> str:
    return " or ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... ({len(names)})"


def _entry(name: str, of: str, told: Callable[[], str], use: tuple[str, ...], what: str) -> Entry:
    also = tuple(alias for alias, keys in ALIASES.get(what, {}).items() if name in keys)
    return Entry(name, of, told, use, also)


def claims_of(module: str) -> list[tuple[str, str]]:
    """Name and statement of each claim of a study, off the source of its checks."""
    found = []
    for node in tree(module).body:
        for made in getattr(node, "decorator_list", ()):
            if isinstance(made, ast.Call) and _name(made.func) == "claim":
                assert isinstance(node, ast.FunctionDef)
                name, *given = (ast.literal_eval(each) for each in made.args)
                said = (ast.get_docstring(node) or "").split("\n\n")[0]
                found.append((name, given[0] if given else " ".join(said.split())))
    return found


def _beside(line: str, module: str, name: str) -> str:
    return f"{line}\n\n{docs(module, name)}"


def _makes(room: str, name: str, kind: str) -> bool:
    """Whether what a room exports by a name makes a kind of thing: a function, or its class."""
    module, node = declaration(room, name)
    if isinstance(node, ast.FunctionDef):
        return node.returns is not None and is_a(module, ast.unparse(node.returns), kind)
    return is_a(module, name, kind) and not _abstract(node) and not _has_maker(room, name)


def _abstract(node: ast.AST | None) -> bool:
    """Whether a class leaves methods to others."""
    methods = [each for each in getattr(node, "body", ()) if isinstance(each, ast.FunctionDef)]
    return any("abstract" in ast.unparse(d) for each in methods for d in each.decorator_list)


def _has_maker(room: str, name: str) -> bool:
    """Whether a function of the room returns this class, so that nobody makes it by its name."""
    nodes = [declaration(room, other)[1] for other in constant(room, "__all__")]
    made = [node.returns for node in nodes if isinstance(node, ast.FunctionDef) and node.returns]
    return name in map(ast.unparse, made)


def _takes(room: str, name: str) -> str:
    """What a function takes, with its defaults, as a call writes it."""
    _, node = declaration(room, name)
    if not isinstance(node, ast.FunctionDef):
        return ""
    plain = node.args.args
    first = len(plain) - len(node.args.defaults)
    told = [each.arg for each in plain[:first]]
    pairs = [
        *zip(plain[first:], node.args.defaults, strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return ", ".join([*told, *(f"{a.arg}={ast.unparse(d)}" if d else a.arg for a, d in pairs)])


def _called(node: ast.expr) -> str:
    return _name(node.func) if isinstance(node, ast.Call) else _name(node)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""
