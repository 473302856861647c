"""torchvision imported even where its C++ extension cannot be loaded. Top level, as ``data`` and ``metrics`` need it.

torchvision's wheel is built against one build of torch. Beside another (its PyPI wheel beside a CPU-only torch, say)
the extension is skipped silently, but ``torchvision._meta_registrations`` still registers fake kernels for operators
that the extension would have declared, and the import ends in ``operator torchvision::nms does not exist``. nllgen uses
none of those operators: declaring their schemas is enough.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import torch

from nllgen.errors import MachineError

# As torchvision/csrc/ops/{nms,quantized/cpu/qnms_kernel}.cpp declare them.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_declared: list[torch.library.Library] = []  # a Library takes its operators with it when it is collected


def import_torchvision() -> ModuleType:
    """Import torchvision; to be called before anything that imports it, ``pytorch_fid`` too.

    Where torchvision works, this is a plain import.

    Raises:
        MachineError: torchvision is not installed, or does not fit the installed torch in another way.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise _unfit(error) from error
    except RuntimeError as error:
        found = _MISSING_OPERATOR.search(str(error))
        if found is None or found[1] not in _SCHEMAS:
            raise _unfit(error) from error
    _forget()
    _declare()
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        _forget()
        raise _unfit(error) from error


def _declare() -> None:
    # All of them at once: a second failed import would leave the first operator's fake kernel behind, and a fake kernel
    # cannot be registered twice.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _forget() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]


def _unfit(error: Exception) -> MachineError:
    return MachineError(
        f"torchvision cannot be imported: {error}",
        "install a torchvision that was built for the installed torch: pip install 'nllgen[train]'",
    )
