from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = "from nllgen import torchvision_ops as ops; module = ops.import_torchvision(); "

NEEDS_NMS = """
import torch
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
marker = "works"
"""


def run(code: str, torchvision: str | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with warnings as errors and, if it is given, ``torchvision`` in the place of the real one."""
    paths = [str(Path(__file__).parents[1])]
    if torchvision is not None and folder is not None:
        (folder / "torchvision.py").write_text(torchvision)
        paths.insert(0, str(folder))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_pytorch_fid_can_be_imported_afterwards() -> None:
    done = run(IMPORT + "import pytorch_fid.fid_score; print(module.datasets.MNIST.mirrors)")
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_where_torchvision_works(tmp_path: Path) -> None:
    done = run(IMPORT + "print(ops._declared, module.marker)", "marker = 'works'", tmp_path)
    assert done.stdout.strip() == "[] works"


def test_missing_operators_are_declared_for_a_second_import(tmp_path: Path) -> None:
    assert run(IMPORT + "print(module.marker)", NEEDS_NMS, tmp_path).stdout.strip() == "works"


@pytest.mark.parametrize(
    "torchvision",
    ["import nowhere", "raise RuntimeError('other')", "raise RuntimeError('operator torchvision::new does not exist')"],
)
def test_other_failures_are_a_typed_error(tmp_path: Path, torchvision: str) -> None:
    done = run(IMPORT, torchvision, tmp_path)
    assert "MachineError: torchvision cannot be imported" in done.stderr
    assert "pip install" in done.stderr
