"""Every small change to a Lua file that a slip of the hand could make: one mutant each, by the positions of its tokens.

Owns the operators and the names of mutants; never runs one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<op>\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^#<>=(){}\[\];:,.])|(?P<space>\s+)""",
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEYWORDS: Final = _words(
    "and break do else elseif end false for function if in local nil not or repeat return then true until while"
)
_OPERATORS: Final = _words("and or not .. == ~= <= >= < > + - * / % ^ # = , . : ( { [")
"""What never ends a statement."""
_JOINING: Final = _words("and or .. == ~= <= >= < > + - * / % ^ = , . : ) } ]")
"""What never begins one."""
_AROUND_CONDITIONS: Final = _words("if elseif while until return then do = , ( { [")
_SWAPS: Final = {
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
    "==": ("~=",),
    "~=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("+",),
    "and": ("or",),
    "or": ("and",),
    "true": ("false",),
    "false": ("true",),
    "not": ("",),
}


WRITER: Final = "lib/store.lua"
"""Where the order of two calls is the order of two writes; elsewhere deciding only takes notes."""


class Mutant(Struct, frozen=True):
    """One change: `text` is the whole file with it."""

    name: str
    """File, kind, line as it stands, what became what, which of several alike: the same whatever moves around it."""
    file: str
    line: int
    kind: str
    text: str


class _Token(Struct, frozen=True):
    kind: str
    text: str
    start: int
    end: int
    line: int


class _Statement(Struct, frozen=True):
    """A call or an assignment on lines of its own."""

    start: int
    end: int
    depth: int
    is_call: bool


class _Edit(Struct, frozen=True):
    kind: str
    start: int
    end: int
    new: str


def mutants_of(folder: Path) -> list[Mutant]:
    """Every mutant of the files that make up lua/apply.lua's script, in order of file and place."""
    files = sorted(path for part in ("commands", "lib") for path in (folder / part).glob("*.lua"))
    return [mutant for path in [folder / "apply.lua", *files] for mutant in _mutants(path, folder)]


def _mutants(path: Path, folder: Path) -> Iterator[Mutant]:
    text = path.read_text(encoding="utf-8")
    file = path.relative_to(folder).as_posix()
    alike: Counter[str] = Counter()
    seen: set[str] = set()
    for edit in sorted(_edits(text, file == WRITER), key=lambda edit: (edit.start, edit.end, edit.kind, edit.new)):
        changed = text[: edit.start] + edit.new + text[edit.end :]
        if changed in seen or changed == text:
            continue
        seen.add(changed)
        line = text.count("\n", 0, edit.start) + 1
        old, new = _short(text[edit.start : edit.end]), _short(edit.new)
        name = f"{file}: {edit.kind}: {text.splitlines()[line - 1].strip()}: {old} -> {new}"
        alike[name] += 1
        if alike[name] > 1:
            name += f" #{alike[name]}"
        yield Mutant(name, file, line, edit.kind, changed)


def _short(text: str) -> str:
    return " ".join(text.split()) or "nothing"


def _tokens(text: str) -> list[_Token]:
    tokens, position, line = [], 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"no Lua that this reads: {text[position : position + 40]!r}")
        kind = str(found.lastgroup)
        if kind == "name" and found.group() in _KEYWORDS:
            kind = "keyword"
        if kind not in ("space", "comment"):
            tokens.append(_Token(kind, found.group(), found.start(), found.end(), line))
        line += found.group().count("\n")
        position = found.end()
    return tokens


def _edits(text: str, writes: bool) -> Iterator[_Edit]:
    tokens = _tokens(text)
    depths = _depths(tokens)
    for i, token in enumerate(tokens):
        if token.kind == "number":
            yield from _other_numbers(tokens, i)
        elif token.text in _SWAPS and token.kind != "string":
            for other in _SWAPS[token.text]:
                yield _Edit("operator", token.start, token.end, other)
        if token.kind == "keyword":
            yield from _other_flow(text, tokens, depths, i)
    yield from _other_statements(text, _statements(tokens, depths), writes)


def _other_numbers(tokens: list[_Token], i: int) -> Iterator[_Edit]:
    token = tokens[i]
    yield _Edit("number", token.start, token.end, str(int(token.text) + 1))
    # A wrong place in an array is one slip, not two.
    is_index = tokens[i - 1].text == "[" and tokens[i + 1].text == "]"
    if token.text != "0" and not is_index:
        yield _Edit("number", token.start, token.end, str(int(token.text) - 1))


def _other_flow(text: str, tokens: list[_Token], depths: list[int], i: int) -> Iterator[_Edit]:
    token = tokens[i]
    if token.text in ("and", "or"):
        yield _Edit("drop operand", tokens[_left(tokens, depths, i)].start, tokens[i + 1].start, "")
        yield _Edit("drop operand", tokens[i - 1].end, tokens[_right(tokens, depths, i)].end, "")
    elif token.text in ("if", "elseif"):
        stop = next(j for j in range(i, len(tokens)) if tokens[j].text == "then")
        condition = tokens[i + 1 : stop]
        words = {one.text for one in condition if one.kind != "string"}
        # The opposite of a lone comparison is an operator's mutant already.
        if words & {"and", "or"} or not words & {"==", "~="}:
            start, end = condition[0].start, condition[-1].end
            yield _Edit("negate", start, end, f"not ({text[start:end]})")
    elif token.text == "return" and tokens[i + 1 :]:
        following = tokens[i + 1]
        if following.text == "end":
            yield _Edit("drop return", token.start, token.end, "")
        elif following.text == "answer":
            yield _Edit("drop return", token.start, following.start, "")


def _other_statements(text: str, statements: list[_Statement], writes: bool) -> Iterator[_Edit]:
    for n, statement in enumerate(statements):
        yield _Edit("drop statement", statement.start, statement.end, "")
        if statement.is_call and statement.depth > 0:
            yield _Edit("return early", statement.start, statement.start, "do return end ")
        if n + 1 == len(statements):
            break
        after = statements[n + 1]
        between = text[statement.end : after.start]
        first, second = text[statement.start : statement.end], text[after.start : after.end]
        both_write = writes and statement.is_call and after.is_call
        if not between.strip() and after.depth == statement.depth and (both_write or _depend(first, second)):
            yield _Edit("reorder", statement.start, after.end, second + between + first)


def _depend(first: str, second: str) -> bool:
    """Whether the order of two statements can matter because one sets what the other names."""
    return _sets_what_is_named(first, second) or _sets_what_is_named(second, first)


def _sets_what_is_named(one: str, other: str) -> bool:
    tokens = _tokens(other)
    pairs = zip(tokens, [*tokens[1:], None], strict=True)
    whole = {token.text for token, after in pairs if token.kind == "name" and (after is None or after.text != "[")}
    return any(target in other or target.partition("[")[0] in whole for target in _targets(one))


def _targets(statement: str) -> list[str]:
    """What an assignment sets, as it stands there; nothing for a call."""
    tokens = _tokens(statement)
    depths = _depths(tokens)
    equals = next((i for i, token in enumerate(tokens) if token.text == "=" and not depths[i]), 0)
    starts = [i for i in range(equals) if i == 0 or (tokens[i - 1].text == "," and not depths[i])]
    ends = [*(i - 2 for i in starts[1:]), equals - 1]
    return [statement[tokens[i].start : tokens[j].end] for i, j in zip(starts, ends, strict=True)] if equals else []


def _depths(tokens: list[_Token]) -> list[int]:
    """How many brackets each token stands in; a bracket itself counts as outside."""
    depths, depth = [], 0
    for token in tokens:
        if token.kind == "op" and token.text in ")}]":
            depth -= 1
        depths.append(depth)
        if token.kind == "op" and token.text in "({[":
            depth += 1
    return depths


def _left(tokens: list[_Token], depths: list[int], at: int) -> int:
    """The first token of the left operand of the `and` or `or` at `at`."""
    stops = _AROUND_CONDITIONS | ({"or", "and"} if tokens[at].text == "and" else {"or"})
    i = at - 1
    while not (depths[i] < depths[at] or (depths[i] == depths[at] and _ends_operand(tokens, i, stops))):
        i -= 1
    return i + 1


def _ends_operand(tokens: list[_Token], i: int, stops: frozenset[str]) -> bool:
    return tokens[i].kind != "string" and tokens[i].text in stops and tokens[i].text not in "([{"


def _right(tokens: list[_Token], depths: list[int], at: int) -> int:
    """The last token of the right operand."""
    stops = frozenset({"or", "then", "do", ","} | ({"and"} if tokens[at].text == "and" else set()))
    i = at + 1
    while i + 1 < len(tokens):
        following = tokens[i + 1]
        if depths[i + 1] < depths[at] or (depths[i + 1] == depths[at] and _ends_operand(tokens, i + 1, stops)):
            break
        if depths[i + 1] == depths[at] and _begins_statement(tokens, i + 1) and following.text not in "([{":
            break
        i += 1
    return i


def _begins_statement(tokens: list[_Token], i: int) -> bool:
    """Whether a token opens a line and does not go on with what stands before it."""
    before, token = tokens[i - 1], tokens[i]
    return token.line > before.line and token.text not in _JOINING and before.text not in _OPERATORS


def _statements(tokens: list[_Token], depths: list[int]) -> list[_Statement]:
    """Calls and assignments, not declarations: without a local the script would only stop at its next use."""
    found, block = [], 0
    for i, token in enumerate(tokens):
        if token.kind == "keyword":
            block += token.text in ("function", "do", "then", "repeat")
            block -= token.text in ("end", "until", "elseif")
        if token.kind != "name" or depths[i] or i == 0:
            continue
        if not (_begins_statement(tokens, i) and tokens[i - 1].text != "local"):
            continue
        last = i
        while last + 1 < len(tokens) and not (depths[last + 1] == 0 and _begins_statement(tokens, last + 1)):
            last += 1
        words = {tokens[j].text for j in range(i, last + 1) if depths[j] == 0 and tokens[j].kind != "string"}
        found.append(_Statement(token.start, tokens[last].end, block, "=" not in words))
    return found
