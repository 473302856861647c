"""A copy of the checkout in which a fault is planted and tests are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FAULTS = CHECKOUT / "benchmarks" / "planted_faults.toml"
HEAVY = ("pytest", "numpy", "h5py", "pydantic", "yaml", "click", "rich.console", "submitit", "torch",
         "torch.nn.functional", "pandas", "scipy.stats", "scipy.linalg", "matplotlib.figure", "jinja2")  # fmt: skip
NOT_PASSED_ON = ("PYTHON", "PYTEST", "COVERAGE", "NLLGEN_GRID")


@dataclass(frozen=True)
class Fault:
    """A small change of a source.

    Attributes:
        name: name of the fault.
        file: path of the source, relative to the checkout.
        old: a fragment that occurs there exactly once.
        new: its replacement.
        operator: the kind of change, named as in mutation testing.
        sampled: whether it is of the seeded sample.
        tests, wider: tests to run, in this order.
    """

    name: str
    file: str
    old: str
    new: str
    operator: str
    tests: tuple[str, ...]
    sampled: bool = False
    wider: tuple[str, ...] = ()

    def planted(self, source: str) -> str:
        """Return the source with the fault.

        Raises:
            ValueError: the fragment does not occur exactly once.
        """
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its fragment occurs {count} times in {self.file}, not once: {self.old!r}")
        return source.replace(self.old, self.new)

    @property
    def change(self) -> str:
        """Return the words that change, with up to four equal words before and after them."""
        old, new = (re.findall(r"\s+|\w+|[<>=!]=|.", text) for text in (self.old, self.new))
        begin = next((i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
        most = min(len(old), len(new)) - begin
        end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
        before, after = ("".join(words[max(0, begin - 4) : len(words) - max(0, end - 4)]) for words in (old, new))
        return " → ".join(" ".join(text.split()) or "nothing" for text in (before, after))


def read_faults(path: Path = FAULTS) -> list[Fault]:
    """Read the planted faults, each with its own tests and those of its package.

    Raises:
        ValueError: two have one name.
    """
    content = tomllib.loads(path.read_text("utf-8"))
    wider = {place: tuple(steps) for place, steps in content["wider"].items()}
    faults = []
    for entry in content["fault"]:
        package = max((place for place in wider if entry["file"].startswith(place)), key=len, default="")
        faults.append(Fault(**entry | {"tests": tuple(entry["tests"])}, wider=wider.get(package, ())))
    names = [fault.name for fault in faults]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two faults have one name: {', '.join(sorted(twice))}")
    return faults


@dataclass
class Ran:
    """The outcome of a test run: the tests that failed, and whether the time ran out."""

    failed: tuple[str, ...]
    seconds: float
    out_of_time: bool = False
    output: str = ""


@dataclass
class Copy:
    """A copy of the checkout with its own Python, which imports the copy's packages and all others of this one.

    Processes that tests start from ``sys.executable`` or the ``nllgen`` beside it do the same in any environment:
    nothing depends on PYTHONPATH.

    Attributes:
        directory: the directory of the copy.
        limit_s: time limit of a test run in seconds.
        imported: modules that the process that runs the tests imports beforehand.
    """

    directory: Path
    limit_s: float = 1200.0
    imported: tuple[str, ...] = HEAVY
    _checkout: Path = CHECKOUT
    _changed: int = 0
    _warm: subprocess.Popen[str] | None = None

    @property
    def root(self) -> Path:
        """Return the root of the copied checkout."""
        return self.directory / "nllgen"

    @property
    def python(self) -> Path:
        """Return the path of its Python."""
        return self.root / ".venv" / "bin" / "python"

    def make(self, checkout: Path = CHECKOUT) -> Copy:
        """Copy tracked and untracked files of the checkout into a new repository."""
        self._checkout = checkout
        listed = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            if (checkout / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(checkout / name, self.root / name)
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "A copy"]):
            subprocess.run(["git", "-C", str(self.root), *words], check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.python.parents[1])], check=True)
        (own,) = self.python.parents[1].glob("lib/python3*/site-packages")
        others = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})"
        (own / "copy.pth").write_text("\n".join((str(self.root), str(self.root / "analysis"), others)) + "\n")
        script = "import sys\nfrom nllgen.cli import main\nsys.exit(main())\n"
        command = self.python.with_name("nllgen")
        command.write_text(f"#!{self.python}\n{script}")
        command.chmod(0o755)
        self._check()
        return self

    def _check(self) -> None:
        code = "from importlib.util import find_spec as find\nfor name in ('nllgen', 'nllgen_analysis'):"
        code += " print(find(name).origin)"
        done = subprocess.run(
            [self.python, "-c", code], cwd="/", env=self._environ(), capture_output=True, text=True, check=True
        )
        if strangers := [path for path in done.stdout.splitlines() if not path.startswith(f"{self.root}/")]:
            raise RuntimeError(f"the copy's Python imports {', '.join(strangers)}, which is not the copy")

    def _environ(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}

    def plant(self, fault: Fault) -> None:
        """Write a fault into its file, with a new time stamp by which Python recognises stale byte code."""
        path = self.root / fault.file
        planted = fault.planted(path.read_text("utf-8"))
        self._changed += 1
        path.write_text(planted, "utf-8")
        self._stamp(path)

    def heal(self, fault: Fault) -> None:
        """Restore the file."""
        path = self.root / fault.file
        shutil.copy2(self._checkout / fault.file, path)
        self._changed += 1
        self._stamp(path)
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)  # examples that failed

    def _stamp(self, path: Path) -> None:
        when = time.time() - 1_000_000 + 10 * self._changed
        os.utime(path, (when, when))

    def run(self, tests: Sequence[str], *, until_first: bool = True, limit_s: float = 0.0) -> Ran:
        """Run tests, all or until the first fails; skip paths that do not exist."""
        there = [test for test in tests if (self.root / test.partition("::")[0]).exists()]
        if not there:
            return Ran((), 0.0)
        options = ["-q", "-p", "no:cacheprovider", "--tb=line", "-rfE", f"--basetemp={self.directory / 't'}"]
        arguments = [*options, *["-x"] * until_first, f"--timeout={self.limit_s / 2:.0f}", *there]
        output, begin = self.directory / "output", time.monotonic()
        order = {"arguments": arguments, "output": str(output), "limit_s": limit_s or self.limit_s}
        code = json.loads(self._ask(json.dumps(order)))
        seconds, text = time.monotonic() - begin, output.read_text("utf-8", errors="replace")
        if code is None:
            return Ran((), seconds, out_of_time=True)
        missing = {test for test in there if f"ERROR: not found: {self.root}/{test}\n" in text}
        if code == pytest.ExitCode.USAGE_ERROR and missing:  # renamed since their ids were recorded
            left = [test for test in there if test not in missing]
            return self.run(left, until_first=until_first, limit_s=limit_s)
        failed = _failed(text, code, there)
        if code == pytest.ExitCode.INTERNAL_ERROR and not failed[0].startswith("tests/"):
            raise RuntimeError(f"pytest itself failed at {' '.join(there)}:\n{text[-2000:]}")
        return Ran(failed, seconds, output=text)

    def _ask(self, order: str) -> str:
        """Return the answer of ``warm.py``, a process that has imported the libraries."""
        if self._warm is None:
            program = shutil.copy(Path(__file__).with_name("warm.py"), self.directory / "warm.py")
            self._warm = subprocess.Popen(
                [self.python, program, *self.imported],
                cwd=self.root,
                env=self._environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(order + "\n")
        self._warm.stdin.flush()
        if not (answer := self._warm.stdout.readline()):
            raise RuntimeError("the process that runs the tests has ended")
        return answer

    def close(self) -> None:
        """End the process that runs tests, and its children."""
        if self._warm is not None:
            with self._warm as process:
                process.terminate()


def _failed(output: str, code: int, tests: Iterable[str]) -> tuple[str, ...]:
    """Return the tests that failed or had an error, from the last lines of pytest's output."""
    if code in (0, 5):  # all passed, or there were none
        return ()
    names = dict.fromkeys(re.findall(r"^(?:FAILED|ERROR) (tests/.*?)(?: - .*)?$", output, re.M))
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return tuple(names) or (f"pytest ended with {code} at {' '.join(files)}",)
