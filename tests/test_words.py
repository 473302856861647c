"""The language of the sources: one word per thing, and docstrings that open as the field's do."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PRODUCT = sorted([*CHECKOUT.glob("nllgen/**/*.py"), *CHECKOUT.glob("analysis/**/*.py")])
BENCHMARKS = sorted([*CHECKOUT.glob("benchmarks/**/*.py"), CHECKOUT / "docs" / "generate.py"])
TESTS = sorted(CHECKOUT.glob("tests/**/*.py"))
PAGES = sorted(
    [
        path
        for path in [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("jobs/*.yaml")]
        if path.name != "CHANGELOG.md" and "results" not in path.parts
    ]
)
ALL = [*PRODUCT, *BENCHMARKS, *TESTS, *PAGES]

# Names that say nothing, or a private language's word for a thing that has a name in the field.
JARGON = {
    "doors", "door", "house", "rooms", "room", "arrows", "arrow", "todo", "unbegun", "pace", "seal", "sealed",
    "supplement", "supplements", "way_out", "Leaf", "Variant",
}  # fmt: skip
VAGUE = {"found", "folder", "say", "tell", "look", "outside", "given", "slot", "slots", "kind_of"}
IN_PROSE = re.compile(
    r"\b(doors?|houses?|rooms?|arrows?|todo|unbegun|way out|seal|seals|sealed|supplements?)\b", re.IGNORECASE
)
# Columns whose names are part of the schema of published files.
# A claim is a hypothesis: outside of these, who works on a task holds a lease.
OF_CLAIMS = re.compile(r"analysis/|nllgen/study/|nllgen/cli/|nllgen/launch/freeze|benchmarks/")
# An image is a picture: in these packages it would be a container.
OF_CONTAINERS = re.compile(r"nllgen/(container|launch|doctor)/")

VERBS = set(Path(__file__).with_name("imperative_verbs.txt").read_text("utf-8").split())
NO_NOUN = {"what", "whether", "of", "that", "which", "how", "who", "whose", "where", "when", "why", "so", "such"}
# Docstrings that open otherwise for a reason.
EXCEPTIONS: dict[str, str] = {}


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of all that a module names itself: functions, arguments, variables, attributes that it sets."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def prose(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment and string of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def wrong_names(path: str, source: str, words: set[str]) -> list[str]:
    return [f"{path}:{line}: {name}" for line, name in identifiers(source) if name.strip("_") in words]


def wrong_prose(path: str, source: str) -> list[str]:
    """Lines with a word that has a better one."""
    lines = list(prose(source) if path.endswith(".py") else enumerate(source.splitlines(), 1))
    wrong = [f"{path}:{line}: {text.strip()}" for line, text in lines if IN_PROSE.search(text)]
    if path.endswith(".py") and not OF_CLAIMS.match(path) and not path.startswith("tests/"):
        wrong += [f"{path}:{line}: {text.strip()}" for line, text in lines if re.search(r"\bclaim(ed|s)?\b", text)]
    if OF_CONTAINERS.match(path):
        image = re.compile(r"(?<!Docker )(?<!Docker)\bimages?\b(?!_size)", re.IGNORECASE)
        wrong += [f"{path}:{line}: {text.strip()}" for line, text in lines if image.search(text)]
    return wrong


def wrong_docstrings(path: str, source: str) -> list[str]:
    """Docstrings of functions that open with no verb in the imperative, of classes and modules with a question word."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        text = ast.get_docstring(node)
        if not text:
            continue
        first = re.split(r"[\s,:.]", text.strip("`*"), maxsplit=1)[0].lower()
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_wrong = first not in VERBS if is_function else first in NO_NOUN
        name = "" if isinstance(node, ast.Module) else node.name
        if is_wrong and f"{path}:{name}" not in EXCEPTIONS:
            wrong.append(f"{path}:{getattr(node, 'lineno', 1)}: {name}: {text.splitlines()[0]}")
    return wrong


Check = Callable[[str, str], list[str]]


def wrong_in(paths: Iterable[Path], check: Check) -> str:
    """Return what a check finds in files, a line each; empty where it finds nothing."""
    return "".join(f"\n{line}" for path in paths for line in check(name_of(path), path.read_text("utf-8")))


def test_names_are_the_fields() -> None:
    assert not wrong_in([*PRODUCT, *BENCHMARKS], partial(wrong_names, words=JARGON | VAGUE))


def test_names_of_tests_are_the_fields() -> None:
    assert not wrong_in(TESTS, partial(wrong_names, words=JARGON))


def test_prose_has_one_word_per_thing() -> None:
    exempt = (Path(__file__), CHECKOUT / "nllgen" / "storage" / "convert.py")  # names columns of old files
    assert not wrong_in([path for path in ALL if path not in exempt], wrong_prose)


def test_docstrings_open_with_a_verb() -> None:
    assert not wrong_in([*PRODUCT, *BENCHMARKS], wrong_docstrings)


OLD_NAMES = re.compile(
    r"nllgen[./](flow|store|image|doors|cli_\w+|asset_sources)\b|--strict-image|"
    r"\blaunch[./](claims|todo|slot|cluster|stages|scheduler|collector|unbegun|pace|failures|workers|snapshot|submit)\b|"
    r"\bstudy[./](block|source|problems|resolve|grid|merge|frozen|counts|plan|cost)\.py|"
    r"\b(Unbegun|Todo|WorkerSetup|PaceMeter|SUPPLEMENT_ATTRS)\b"
)


def old_names(name: str, text: str) -> list[str]:
    """Return the lines that have a name of before version 0.2."""
    return [f"{name}:{i}: {line}" for i, line in enumerate(text.splitlines(), 1) if OLD_NAMES.search(line)]


def test_names_of_before_version_0_2_are_gone() -> None:
    assert not wrong_in([path for path in ALL if path != Path(__file__)], old_names)


def test_an_old_name_is_found() -> None:
    assert len(old_names("docs/x.md", "use nllgen.flow\nand nllgen.models")) == 1


def test_exceptions_are_few() -> None:
    assert len(EXCEPTIONS) <= 20


@pytest.mark.parametrize(
    ("source", "num_wrong"),
    [
        ('def f():\n    """Return the lease\'s owner."""', 0),
        ('def f():\n    """The lease\'s owner."""', 1),
        ('def f():\n    """Whether it is held."""', 1),
        ('class A:\n    """A lease."""', 0),
        ('class A:\n    """What a task needs."""', 1),
    ],
)
def test_an_opening_is_recognised(source: str, num_wrong: int) -> None:
    assert len(wrong_docstrings("nllgen/x.py", source)) == num_wrong


@pytest.mark.parametrize("source", ["found = 1", "def f(folder): ...", "self.look = 1", "def _say(): ..."])
def test_a_vague_name_is_found(source: str) -> None:
    assert len(wrong_names("nllgen/x.py", source, VAGUE)) == 1


@pytest.mark.parametrize("source", ["# the way out", 'x = "behind doors"', '"""The rooms."""'])
def test_a_private_word_is_found(source: str) -> None:
    assert len(wrong_prose("nllgen/x.py", source)) == 1


# Strings in which these words are no advice: commands of a script, and the verb of an operation that failed.
REMOVING = re.compile(r"\b(remove|delete|erase|rm|unlink)\b", re.IGNORECASE)
NO_ADVICE = {
    ("nllgen/launch/local.py", "remove"),  # raise_os_error names what could not be done
    ("nllgen/launch/slurm/job_script.py", "rm -f -- "),  # a link that the launcher itself makes
}


def advice_to_remove(path: str, source: str) -> list[str]:
    """Messages that tell a user to remove something: whatever is damaged moves aside."""
    tree = ast.parse(source)
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [(node.lineno, str(node.value)) for node in nodes if id(node) not in docstrings]
    return [
        f"{path}:{line}: {text}"
        for line, text in texts
        if REMOVING.search(text) and not any(path == name and part in text for name, part in NO_ADVICE)
    ]


def test_no_message_suggests_to_remove_anything() -> None:
    assert not wrong_in(PRODUCT, advice_to_remove)


def test_advice_to_remove_is_found() -> None:
    assert advice_to_remove("x.py", 'raise E("x is damaged", f"remove {x} and run it again")') != []
    assert advice_to_remove("x.py", 'def f():\n    """Remove a file."""') == []
