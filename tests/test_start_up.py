"""What the command line imports before it runs a command."""

from __future__ import annotations

import ast
import sys

from tests.modules import MODULES, imports_of, is_package, package_of


def imports_at_the_top(module: str) -> set[str]:
    """Modules that are imported when a module is, but the standard library's."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    names = {name for _, name in imports_of(module, ast.unparse(top), is_package=is_package(MODULES[module]))}
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}


def imported_at_start_up(module: str) -> set[str]:
    """Modules that are imported with a module of the command line, directly or by another of its modules."""
    imported: set[str] = set()
    queue = [module]
    while queue:
        new = imports_at_the_top(queue.pop()) - imported
        imported |= new
        queue += [name for name in new if name in MODULES and package_of(name) == "cli"]
    return imported


def test_a_command_imports_what_it_needs_when_it_runs() -> None:
    """``nllgen --help`` takes less than a fifth of a second."""
    imported = imported_at_start_up("nllgen.cli.app")
    assert {name for name in imported if not name.startswith("nllgen.cli.")} == {
        "click",
        "click.shell_completion",  # its items, which the completers of options return
        "cloup",
        "nllgen",
        "nllgen.errors",
        "nllgen.study.image_sets",  # names alone, for what can be fetched
        "nllgen.study.metric_groups",  # names alone, for the help of --metric
    }
    assert {"nllgen.cli.options", "nllgen.cli.study_commands"} <= imported
    assert "nllgen.cli.screen" not in imported  # which imports rich at its top
