"""The tools that measure the tests: planted faults, and the lines that tests reach."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import CoverageData

from benchmarks import coverage
from benchmarks.planted.reaching import reaching_tests
from benchmarks.planted.trial import CHECKOUT, Copy, Fault, read_faults
from benchmarks.planted_faults import ESCAPES, Table, hunt, verify

ADD = Fault("minus", "nllgen/add.py", "a + b", "a - b", "arithmetic swapped", ("tests/test_add.py",))
SAME = Fault("same", "nllgen/add.py", "# not | run", "# nor that", "comment", ("tests/gone.py", "tests/test_add.py"))
SOURCES = {
    ".gitignore": ".venv/\n__pycache__/\n",
    "analysis/nllgen_analysis/__init__.py": "",
    "nllgen/__init__.py": "",
    "nllgen/add.py": "def add(a, b):\n    return a + b\n\n\n# not | run\n"
    "if __name__ == '__main__':\n    print(add(2, 3))\n",
    "tests/test_add.py": "import subprocess, sys\n\n\ndef test_a_process_adds(tmp_path):\n"
    "    command = [sys.executable, '-I', '-m', 'nllgen.add']\n"
    "    assert subprocess.run(command, env={}, cwd=tmp_path, capture_output=True).stdout == b'5\\n'\n",
}
CAUGHT = "tests/test_add.py::test_a_process_adds"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a package, and a test that runs the package in another process."""
    root = tmp_path_factory.mktemp("checkout")
    for name, text in SOURCES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.fixture(scope="module")
def copy(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("copy"), imported=("pytest",)).make(checkout)
    yield made
    made.close()


def test_a_fault_is_caught_in_a_process_that_a_test_starts(copy: Copy, checkout: Path) -> None:
    caught, _ = hunt(ADD, copy, [["tests/test_add.py"]])
    assert caught == CAUGHT
    assert (copy.root / ADD.file).read_text() == (checkout / ADD.file).read_text() == SOURCES[ADD.file]


def test_a_change_that_shows_nowhere_escapes(copy: Copy) -> None:
    assert hunt(SAME, copy, [[test] for test in SAME.tests])[0] == ESCAPES


def test_a_test_that_is_gone_is_passed_over(copy: Copy) -> None:
    assert hunt(ADD, copy, [["tests/test_add.py::test_gone", CAUGHT]])[0] == CAUGHT


def test_a_test_that_fails_without_the_fault_catches_nothing(copy: Copy, checkout: Path) -> None:
    cells = {("minus", "now"): (CAUGHT, "1"), ("same", "now"): (ESCAPES, "1")}
    table = Table(["now"], {"now": "today"}, dict(cells))
    verify(table, "now", ["minus", "same"], copy)
    assert table.cells == cells
    copy.plant(ADD)
    verify(table, "now", ["minus", "same"], copy)
    copy.heal(ADD)
    assert table.cells["minus", "now"] == (f"fails without it as well: {CAUGHT}", "1")


@pytest.mark.parametrize("fault", read_faults(), ids=lambda fault: fault.name)
def test_the_fragment_of_a_fault_occurs_once_and_its_tests_exist(fault: Fault) -> None:
    source = (CHECKOUT / fault.file).read_text("utf-8")
    assert fault.planted(source) != source
    assert [test for test in fault.tests if not (CHECKOUT / test.partition("::")[0]).exists()] == []


def test_a_fragment_has_to_occur_once() -> None:
    assert ADD.planted("return a + b") == "return a - b"
    for source in ("return b + a", "a + b == a + b"):
        with pytest.raises(ValueError, match=r"minus: its fragment occurs [02] times in nllgen/add\.py"):
            ADD.planted(source)


def test_a_column_of_faults_is_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    table = Table(["before"], {"before": "yesterday"}, {("minus", "before"): ("tests/test_add.py::test_it[a|b]", "2")})
    table.write(path, [ADD, SAME])
    table = Table.read(path)
    table.columns.append("after")
    table.heads["after"] = "today"
    table.cells["same", "after"] = (ESCAPES, "3")
    table.write(path, [ADD, SAME])
    assert Table.read(path) == table
    assert table.cells["minus", "before"] == ("tests/test_add.py::test_it[a|b]", "2")
    assert "In after, 1 of 2 faults planted, 0 caught, 1 not; 3 s." in path.read_text()


def test_the_tests_that_reach_a_line_are_found(checkout: Path, tmp_path: Path) -> None:
    data = CoverageData(str(tmp_path / "data"))
    for context, arcs in {CAUGHT: [(1, 2)], "tests/test_add.py::test_gone": [(1, 2)], "": [(1, 2)]}.items():
        data.set_context(context)
        data.add_arcs({f"/elsewhere/{ADD.file}": arcs})
    data.write()
    assert reaching_tests(tmp_path / "data", ADD, checkout) == [CAUGHT]
    assert reaching_tests(tmp_path / "data", SAME, checkout) == []


def test_a_column_of_coverage_is_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    for column, covered in (("before", 8), ("after", 9)):
        counts = {"nllgen": Counter(), "nllgen.study": Counter(dict(zip(names, (10, covered, 4, 2), strict=True)))}
        coverage.write(path, column, f"{covered} processes", counts)
    text = path.read_text()
    assert "- before: 8 processes\n- after: 9 processes\n" in text
    row = "8 of 10, 80.0% | 2 of 4, 50.0% | 9 of 10, 90.0% | 2 of 4, 50.0% |"
    assert f"| nllgen.study | {row}\n" in text
    assert f"| all | {row}\n" in text


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("nllgen/errors.py", "nllgen"),
        ("nllgen/cli/app.py", "nllgen.cli"),
        ("nllgen/doctor/rules.py", "nllgen.doctor"),
        ("analysis/nllgen_analysis/text.py", "nllgen_analysis"),
        ("analysis/nllgen_analysis/claims/degrees.py", "nllgen_analysis.claims"),
    ],
)
def test_a_file_belongs_to_a_package(path: str, package: str) -> None:
    assert coverage.package_of(Path(path)) == package
