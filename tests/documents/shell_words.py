"""Shell blocks as simple commands, and whether what they name exists: sub-commands, options, files, endpoints.

Owns that check for what is ours: holdfast, make, python -m, pytest, and curl to the service. Never runs anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import typer

from runtime.cli import app as holdfast
from tests.documents.pages import ROOT

_ADDRESS = re.compile(r"^(?:\$\{?(?:URL|HOLDFAST)\}?|http://127\.0\.0\.1:8000)(?P<path>/[^?]*)?(?:\?.*)?$")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_STANDS_FOR_SOMETHING = re.compile(r"\$\{?\w+\}?|\$\(.*\)")
_LEADING = {"exec", "until", "while", "do", "then", "if", "env", "time", "!", "{", "("}


def simple_commands(script: str) -> Iterator[list[str]]:
    """The words of each simple command; what stands in `$( )` is one of its own."""
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for token in lexer:
            if set(token) <= set("();<>|&"):
                yield words
                words = []
            else:
                words.append(token)
        yield words


def program_of(words: Sequence[str]) -> list[str]:
    """A simple command without what stands before its program."""
    rest = list(words)
    while rest and (_ASSIGNMENT.match(rest[0]) or rest[0] in _LEADING):
        if _ASSIGNMENT.match(rest[0]) and rest[0].endswith("=$"):
            return rest[1:]
        rest.pop(0)
    return rest


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def faults(script: str, described: dict[str, Any]) -> Iterator[str]:
    """What a script names that is not there. `described`: the OpenAPI document."""
    for words in simple_commands(script):
        program, *rest = program_of(words) or [""]
        match program.rpartition("/")[2]:
            case "holdfast":
                yield from _of_holdfast(rest)
            case "make":
                targets = [word for word in rest if not _ASSIGNMENT.match(word)]
                yield from (f"make has no target {name}" for name in targets if name not in make_targets())
            case "pytest":
                files = [word.partition("::")[0] for word in rest if word.startswith("tests/")]
                yield from (f"no file {name}" for name in files if not list(ROOT.glob(name)))
            case "python" if rest[:1] == ["-m"] and find_spec(rest[1]) is None:
                yield f"no module {rest[1]}"
            case "curl" | "ask":
                yield from _of_curl(rest, described)


def _of_holdfast(words: Sequence[str]) -> Iterator[str]:
    command: Any = typer.main.get_command(holdfast)
    named = ["holdfast"]
    rest = list(words)
    while hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
        found = command.get_command(None, rest[0])
        if found is None:
            yield f"no command {' '.join([*named, rest[0]])}"
            return
        named.append(rest.pop(0))
        command = found
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        name = word.partition("=")[0]
        if name.startswith("-") and name not in options | {"--help"} and not name.lstrip("-").isdigit():
            yield f"{' '.join(named)} has no option {name}"


def _of_curl(words: Sequence[str], described: dict[str, Any]) -> Iterator[str]:
    method = "GET"
    if any(word in {"-d", "-F", "--data", "--data-binary"} or word.startswith(("-d", "-F")) for word in words):
        method = "POST"
    if "-X" in words:
        method = words[words.index("-X") + 1]
    for word in words:
        address = _ADDRESS.match(word)
        if address is not None and not _is_described(method, address["path"] or "/", described):
            yield f"no endpoint {method} {address['path']}"


def _is_described(method: str, path: str, described: dict[str, Any]) -> bool:
    if path in {"/docs", "/openapi.json"} or path.startswith("/console"):
        return True
    asked = _STANDS_FOR_SOMETHING.sub("x", path).split("/")
    for known, operations in described["paths"].items():
        parts = known.split("/")
        same = len(parts) == len(asked) and all(
            one == other or one.startswith("{") for one, other in zip(parts, asked, strict=True)
        )
        if same and method.lower() in operations:
            return True
    return False
