"""Candidates for ``benchmarks/planted_faults.toml``: a seeded sample of small changes of the packages' sources.

``python -m benchmarks.planted.candidates [SEED]`` prints them as TOML, in proportion to each package's lines of code.
A person then drops changes without an effect on any program, names the others and adds the tests to run first.
Seed 20261130 gave the entries that are marked as sampled.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SEED = 20261130
PACKAGES = {
    "study": "nllgen/study",
    "planning": "nllgen/planning",
    "storage": "nllgen/storage",
    "launch": "nllgen/launch",
    "doctor": "nllgen/doctor",
    "container": "nllgen/container",
    "data": "nllgen/data",
    "models": "nllgen/models",
    "paradigms": "nllgen/paradigms",
    "metrics": "nllgen/metrics",
    "train": "nllgen/train",
    "worker": "nllgen/worker",
    "commands": "nllgen/cli",
    "assets": "nllgen/assets nllgen/torchvision_ops.py",
    "claims": "analysis/nllgen_analysis/claims",
    "figures": "analysis/nllgen_analysis/figures",
    "analysis": "analysis/nllgen_analysis/*.py",
}
COMPARED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
COMPARED |= {"is": "is not", "is not": "is", "in": "not in", "not in": "in"}
NAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "True": "False", "False": "True"}
NAMED |= {"minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}
DROPPED = {"detach", "clip", "clamp", "flush", "fsync", "unlink", "sync_folder", "close", "strip", "sorted", "abs"}
ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}


class Candidate(NamedTuple):
    """A change: its place, its operator, and the fragment that it replaces."""

    file: str
    line: int
    operator: str
    old: str
    new: str


def changes(tree: ast.AST, source: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield (operator, begin, end, replacement) of each change that an operator can make."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    raw = source.encode()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            begin, end = span(node.left)[1], span(node.comparators[0])[0]
            operator = raw[begin:end].decode().strip(" ()\n")
            if operator in COMPARED:
                yield "swapped comparison", begin, end, raw[begin:end].decode().replace(operator, COMPARED[operator])
        elif isinstance(node, ast.BoolOp):
            begin, end = span(node.values[0])[1], span(node.values[1])[0]
            words = {" and ": " or ", " or ": " and "}
            if (word := raw[begin:end].decode()) in words and len(node.values) == 2:
                yield "and/or swapped", begin, end, words[word]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "dropped not", *span(node), raw[slice(*span(node.operand))].decode()
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _of_text(node):
            begin, end = span(node.left)[1], span(node.right)[0]
            old, new = ARITHMETIC[type(node.op)]
            if raw[begin:end].decode() == f" {old} ":
                yield "arithmetic swapped", begin, end, f" {new} "
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and type(node.value) is not bool:
            yield "constant changed", *span(node), str(node.value + 1)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield "flag turned", *span(node), str(not node.value)
        elif isinstance(node, ast.Call):
            yield from _calls(node, span)
        elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.UnaryOp | ast.Compare):
            yield "condition turned", *span(node.test), f"not ({raw[slice(*span(node.test))].decode()})"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield "call dropped", *span(node), "pass"


def _of_text(node: ast.BinOp) -> bool:
    """Return whether an operation joins texts or paths, where another operator would only crash."""
    inner = [each for each in (node.left, node.right) if isinstance(each, ast.BinOp)]
    text = any(isinstance(getattr(each, "value", None), str) for each in (node.left, node.right))
    return text or any(isinstance(each, ast.JoinedStr) for each in (node.left, node.right)) or any(map(_of_text, inner))


def _calls(node: ast.Call, span: object) -> Iterator[tuple[str, int, int, str]]:
    assert callable(span)
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in NAMED:
        _, end = span(function)
        yield "name swapped", end - len(name), end, NAMED[name]
    if name in DROPPED and isinstance(function, ast.Attribute):
        yield "call dropped", span(function.value)[1], span(node)[1], ""


def fragment(raw: bytes, begin: int, end: int) -> tuple[int, int] | None:
    """Return the shortest run of at most three lines around a change that occurs once, or None."""
    first = raw.rfind(b"\n", 0, begin) + 1
    last = raw.find(b"\n", end)
    for _ in range(3):
        inner = first + len(raw[first:last]) - len(raw[first:last].lstrip())
        if raw.count(raw[inner:last]) == 1:
            return inner, last
        first = raw.rfind(b"\n", 0, first - 1) + 1
    return None


def of_file(path: Path) -> Iterator[Candidate]:
    """Yield every candidate of a file."""
    source = path.read_text("utf-8")
    raw = source.encode()
    for operator, begin, end, replacement in changes(ast.parse(source), source):
        if (place := fragment(raw, begin, end)) is not None:
            old = raw[slice(*place)].decode()
            new = (raw[place[0] : begin] + replacement.encode() + raw[end : place[1]]).decode()
            yield Candidate(str(path), raw.count(b"\n", 0, begin) + 1, operator, old, new)


def files(places: str) -> list[Path]:
    """Return the Python files of a package, in order."""
    paths: list[Path] = []
    for place in places.split():
        path = Path(place)
        paths += sorted(path.rglob("*.py")) if path.is_dir() else sorted(Path().glob(place))
    return paths


def sample(seed: int, lines_each: int = 110, least: int = 8) -> Iterator[tuple[str, list[Candidate]]]:
    """Yield for each package one candidate for each ``lines_each`` lines, each at another place."""
    chosen = random.Random(seed)
    for package, places in PACKAGES.items():
        paths = files(places)
        count = max(least, sum(path.read_text("utf-8").count("\n") for path in paths) // lines_each)
        candidates = [each for path in paths for each in of_file(path)]
        by_operator = sorted({each.operator for each in candidates})
        taken: dict[tuple[str, int], Candidate] = {}
        while len(taken) < count:
            operator = chosen.choice(by_operator)  # otherwise most would be constants
            each = chosen.choice([one for one in candidates if one.operator == operator])
            taken.setdefault((each.file, each.line), each)
        yield package, sorted(taken.values())


def main() -> None:
    """Print the sample."""
    for package, candidates in sample(int(sys.argv[1]) if len(sys.argv) > 1 else SEED):
        print(f"# {package}")
        for each in candidates:
            print(f"\n[[fault]]\nfile = {json.dumps(each.file)} # {each.line}\noperator = {json.dumps(each.operator)}")
            print(f"old = {json.dumps(each.old, ensure_ascii=False)}\nnew = {json.dumps(each.new, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
