"""Formulas in running text, as `lambda_min(G^(H)) <= (1 - eta/2)^k`, set as MathML.

Sentences are written once, for terminals and pages alike, with formulas in plain letters. A page
sets the parts that can be nothing but a formula: a run of letters, Greek names, numbers, brackets
and operators in which a script, a Greek letter, a norm, a root or a relation stands. What a reader
sees stays the text in its order, so that a formula that is missed is only plainer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup, escape

GREEK = {
    "alpha": "α", "eps": "ε", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ",
    "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ",
    "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ",
    "omega": "ω", "Delta": "Δ", "Gamma": "Γ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ",
}  # fmt: skip
FUNCTIONS = ("log", "ln", "exp", "sqrt", "min", "max", "sum", "tanh", "sin", "cos", "grad", "tr")
SYMBOLS = {"<=": "≤", ">=": "≥", "-": "−", "*": "·", "grad": "∇", "sum": "∑", "||": "‖",
           "->": "→", "<-": "←", "...": "…", "..": "…", "(x)": "⊗"}  # fmt: skip

_NAME = "|".join(sorted((*GREEK, *FUNCTIONS), key=len, reverse=True))
_TOKEN = re.compile(
    rf"""(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w%])|\d+(?=[A-Za-z](?![A-Za-z\d])))
    | (?P<name>(?:{_NAME})(?![A-Za-z])
        | [A-Za-zα-ωΑ-Ω]\d{{1,2}}(?![A-Za-z\d])
        | [A-Za-zα-ωΑ-Ω](?![A-Za-zα-ωΑ-Ω\d]))
    | (?P<script>[\^_](?:\{{[^{{}}]*\}}|\((?:[^()]|\([^()]*\))*\)|-?\d+|[A-Za-z]+|[*])'*
        | (?<=[A-Za-z])\*(?![\w*(]))
    | (?P<raised>[⁰¹²³⁴-⁹⁻ᵀ₀-₉]+)
    | (?P<prime>'+(?![A-Za-z]))
    | (?P<norm>\|\||\||‖)
    | (?P<relation><=|>=|->|<-|[=<>≤≥≈~])
    | (?P<operator>(?<=\s)\(x\)(?=\s)|\.{2, 3}|[-−+*/·×!])
    | (?P<dot>(?<=\s)\.(?=\s)|(?<=[A-Za-z])\.(?=[A-Za-z]\b))
    | (?P<comma>,)
    | (?P<open>[(\[])
    | (?P<close>[)\]])""",
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t]+")
_ARTICLES = ("a", "A")


class Token(NamedTuple):
    """A piece of a formula: its kind, its text, where it stands, and if a space precedes it."""

    kind: str
    text: str
    start: int
    end: int
    spaced: bool


def typeset(text: str) -> Markup:
    """Escaped text whose formulas are MathML.

    Example:
        >>> str(typeset("It falls as m^2."))
        'It falls as <math><msup><mi>m</mi><mn>2</mn></msup></math>.'
    """
    parts, done = [], 0
    for tokens in _formulas(text):
        parts += [escape(text[done : tokens[0].start]), mathml(tokens)]
        done = tokens[-1].end
    return Markup("").join([*parts, escape(text[done:])])


def mathml(tokens: list[Token]) -> Markup:
    """One formula as a `math` element."""
    return Markup("<math>") + Markup("").join(_elements(tokens)) + Markup("</math>")


def _formulas(text: str) -> Iterator[list[Token]]:
    """The longest runs of tokens that are a formula, from left to right."""
    run: list[Token] = []
    place = 0
    while place < len(text):
        space = _SPACE.match(text, place)
        start = space.end() if space else place
        found = _TOKEN.match(text, start) or _word_in_brackets(text, start, run)
        if found and (run or place == start) and _stands_alone(text, start, found, run):
            kind = found.lastgroup or ""
            run.append(Token(kind, found.group(), start, found.end(), bool(space)))
            place = found.end()
            continue
        yield from _kept(run)
        run = []
        word = re.compile(r"\w+|\s+|.", re.DOTALL).match(text, place)
        assert word is not None
        place = word.end()
    yield from _kept(run)


def _word_in_brackets(text: str, start: int, run: list[Token]) -> re.Match[str] | None:
    """A word that is added, multiplied ... inside brackets, as in (pi - angle)."""
    found = re.compile(r"(?P<name>[A-Za-z]{2,})(?=(?P<next>\s*[-+*/)]?))").match(text, start)
    depth = sum((token.kind == "open") - (token.kind == "close") for token in run)
    if found is None or depth < 1 or not found["next"].strip():
        return None
    joined = run[-1].kind == "operator" or (run[-1].kind == "open" and found["next"].strip() != ")")
    return re.compile(r"(?P<name>[A-Za-z]{2,})").match(text, start) if joined else None


def _stands_alone(text: str, start: int, found: re.Match[str], run: list[Token]) -> bool:
    """Whether a token is no part of a word: `l_2` is a formula, `step_size` and `x2y` are not."""
    attached = bool(run) and run[-1].end == start
    if found.lastgroup in ("name", "number") and not attached:
        before = text[start - 1] if start else " "
        return not (before.isalnum() or before in "_.`'’^{")
    if found.lastgroup in ("script", "raised", "prime"):
        if attached and run[-1].text in FUNCTIONS and re.match(r"_[A-Za-z]{2}", found.group()):
            return False  # min_value
        return attached and run[-1].kind in ("name", "close", "norm", "script", "prime", "number")
    return True


def _kept(run: list[Token]) -> Iterator[list[Token]]:
    """The parts of a run that are a formula beyond doubt."""
    split = _split(run)
    if split is not None:
        yield from _kept(run[:split])
        yield from _kept(run[split + 1 :])
        return
    while run:
        kinds = [token.kind for token in run]
        aside = _aside(run)
        if kinds[:3] == ["open", "name", "close"] and (len(run) == 3 or run[3].spaced):
            run = run[3:]  # the letter of a panel
        elif kinds[0] == "open" and _split(run[:-1]) == 0:
            run = run[1:-1]  # brackets of the sentence
        elif aside:
            run = run[:aside]
        elif kinds.count("norm") % 2 and kinds[0] == "norm":
            run = run[next((i for i, k in enumerate(kinds) if i and k != "script"), len(run)) :]
        elif _loose_start(run):
            run = run[1:]
        elif _loose_end(run):
            run = run[:-1]
        else:
            break
    if any(_strong(run, i) for i in range(len(run))) and kinds.count("norm") % 2 == 0:
        yield run


def _aside(run: list[Token]) -> int:
    """Where brackets that only remark begin, as in `G^(H) (E4, E5)` or `w_x (output/input)`."""
    if run[-1].kind != "close":
        return 0
    start = max(i for i in range(len(run)) if run[i].kind == "open" and _split(run[i:-1]) == 0)
    inside = run[start + 1 : -1]
    words = any(len(t.text) > 2 and t.text not in (*GREEK, *FUNCTIONS) for t in inside)
    listed = all(t.kind in ("name", "number", "comma") for t in inside)
    return start if run[start].spaced and (words or listed) else 0


def _loose_start(run: list[Token]) -> bool:
    first, lonely = run[0], len(run) == 1 or run[1].spaced
    if first.kind == "operator":
        return lonely or first.text not in "-−"
    article = first.text in _ARTICLES and lonely and len(run) > 1
    joined = article and run[1].kind in ("name", "number", "open")
    without_base = first.kind in ("script", "raised", "prime")  # of brackets that were split off
    return first.kind in ("relation", "comma", "dot") or without_base or joined


def _loose_end(run: list[Token]) -> bool:
    last = run[-1]
    article = last.text in _ARTICLES and last.spaced and len(run) > 1
    joined = article and run[-2].kind in ("name", "number", "close", "script", "raised")
    return last.kind in ("relation", "comma", "dot", "operator") or joined


def _split(run: list[Token]) -> int | None:
    """The place of a bracket without partner, or of a comma outside of brackets."""
    opened: list[int] = []
    for i, token in enumerate(run):
        if token.kind == "open":
            opened.append(i)
        elif token.kind == "close":
            if not opened:
                return i
            opened.pop()
        elif token.kind == "comma" and not opened:
            return i
    return opened[0] if opened else None


def _strong(run: list[Token], i: int) -> bool:
    token = run[i]
    if token.kind in ("script", "raised") or token.text in GREEK or token.text == "sqrt":
        return True
    inside = 0 < i < len(run) - 1
    sides = {run[i - 1].kind, run[i + 1].kind} if inside else set()
    if token.kind == "relation" or token.text == "/":
        return inside and bool(sides & {"name", "close", "norm"}) and "comma" not in sides
    return token.text in ("||", "‖") and any(t.kind == "name" for t in run[i + 1 :])


def _elements(tokens: list[Token]) -> Iterator[Markup]:
    base, sub, sup = Markup(""), Markup(""), Markup("")
    operand = ("name", "number", "open")
    for token in (*tokens, None):
        if token is not None and token.kind in ("script", "raised", "prime"):
            low, high = _script(token)
            sub, sup = sub + low, sup + high
            continue
        if base:
            yield _scripted(base, sub, sup)
        if token is not None:
            if base and token.spaced and token.kind in operand and not base.startswith("<mo"):
                yield Markup('<mspace width="0.2em"/>')
            base, sub, sup = _base(token, first=token is tokens[0])


def _scripted(base: Markup, sub: Markup, sup: Markup) -> Markup:
    row = Markup("<mrow>{}</mrow>")
    low, high = (row.format(s) if s.count("<m") > 1 else s for s in (sub, sup))
    if sub and sup:
        return Markup("<msubsup>{}{}{}</msubsup>").format(base, low, high)
    if sub or sup:
        tag = "msub" if sub else "msup"
        return Markup(f"<{tag}>{{}}{{}}</{tag}>").format(base, low or high)
    return base


def _base(token: Token, first: bool) -> tuple[Markup, Markup, Markup]:
    """An element, with what its own text says of its scripts."""
    text, none = token.text, Markup("")
    if token.kind == "number":
        return Markup("<mn>{}</mn>").format(text), none, none
    if token.kind == "name" and text not in ("grad", "sum"):
        letters = text.rstrip("0123456789")
        index = text[len(letters) :]
        low = Markup("<mn>{}</mn>").format(index) if index else none
        if letters == "sqrt":
            return Markup("<mo>√</mo>"), low, none
        return Markup("<mi>{}</mi>").format(GREEK.get(letters, letters)), low, none
    form = Markup(' form="prefix"') if first and token.kind == "operator" else none
    if token.kind in ("open", "close", "norm"):
        tight = ' lspace="0" rspace="0"' if token.kind == "norm" else ""
        form = Markup(f' stretchy="false"{tight}')
    elif text == "/":
        form = Markup(' lspace="0" rspace="0"')
    return Markup("<mo{}>{}</mo>").format(form, SYMBOLS.get(text, text)), none, none


def _script(token: Token) -> tuple[Markup, Markup]:
    """What a script adds below and above."""
    if token.kind == "prime":
        return Markup(""), Markup("<mo>{}</mo>").format("′" * len(token.text))
    if token.kind == "raised":
        plain = token.text.translate(
            str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ₀₁₂₃₄₅₆₇₈₉", "0123456789-T0123456789")
        )
        below = token.text[0] in "₀₁₂₃₄₅₆₇₈₉"
        inner = _inner(plain)
        return (inner, Markup("")) if below else (Markup(""), inner)
    if token.text.strip("^_") == "*":  # the star of an optimum: w*, w^*, f_*
        none, star = Markup(""), Markup("<mo>∗</mo>")
        return (star, none) if token.text[0] == "_" else (none, star)
    body = token.text[1:].rstrip("'")
    primes = len(token.text) - 1 - len(body)
    if body[0] in "({":
        content = body[1:-1]
        # G^(H) is a level in brackets, m^(-1/2) a power.
        keeps = body[0] == "(" and len(content.strip()) == 1 and content.strip().isalpha()
        body = f"({content.strip()})" if keeps else content
    inner = _inner(body)
    prime = Markup("<mo>{}</mo>").format("′" * primes) if primes else Markup("")
    return (inner, prime) if token.text[0] == "_" else (Markup(""), inner + prime)


def _inner(text: str) -> Markup:
    """The elements of a script's text; a word in it stays a word."""
    if re.fullmatch(r"[A-Za-z]{2,}", text) and text not in GREEK:
        return Markup("<mi>{}</mi>").format(text)
    tokens, place = [], 0
    while place < len(text):
        space = _SPACE.match(text, place)
        place = space.end() if space else place
        found = _TOKEN.match(text, place)
        if found is None:
            return Markup("<mtext>{}</mtext>").format(text)
        kind = found.lastgroup or ""
        tokens.append(Token(kind, found.group(), place, found.end(), bool(space)))
        place = found.end()
    return Markup("").join(_elements(tokens))
