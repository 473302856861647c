"""Import torchvision even where its C++ extension cannot be loaded.

torchvision's wheel is built against one build of torch. With another build (its PyPI wheel and a CPU-only torch, say)
the extension is skipped silently, but ``torchvision._meta_registrations`` still registers fake kernels for operators
that the extension would have declared, and the import ends in ``operator torchvision::nms does not exist``. nllgen uses
none of those operators, so declaring their schemas is enough. The module is at the top level because both ``data`` and
``metrics`` need it.
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
_declared: list[torch.library.Library] = []  # kept alive: a collected Library unregisters its operators


def import_torchvision() -> ModuleType:
    """Import torchvision. Call this before importing anything that imports torchvision, such as ``pytorch_fid``.

    Where torchvision works, this is a plain import.

    Raises:
        MachineError: torchvision is not installed, or is incompatible with the installed torch in another way.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise _import_error(error) from error
    except RuntimeError as error:
        missing = _MISSING_OPERATOR.search(str(error))
        if missing is None or missing[1] not in _SCHEMAS:
            raise _import_error(error) from error
    _unload_torchvision()
    _declare_operators()
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        _unload_torchvision()
        raise _import_error(error) from error


def _declare_operators() -> None:
    # Declare all operators together: after a second failed import, the first operator's fake kernel would remain, and a
    # fake kernel cannot be registered twice.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _unload_torchvision() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]


def _import_error(error: Exception) -> MachineError:
    return MachineError(
        f"torchvision cannot be imported: {error}",
        "install a torchvision built for the installed torch: pip install 'nllgen[train]'",
    )
