"""A stand-in for a GPU: tensors on the CPU, and a count of all that would make the host wait for a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

METHODS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__array__")
aten = torch.ops.aten
# whose results have a value or a shape that the host must know, or that copy from the host's memory
OPERATORS = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.masked_select.default,
    aten._unique2.default, aten.lift_fresh.default, aten.repeat_interleave.Tensor,
}  # fmt: skip
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, record: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = record

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if func in OPERATORS or by_mask:
            self.record.append(str(func))
        return func(*args, **kwargs or {})


@contextmanager
def synchronisations() -> Iterator[list[str]]:
    """Record the calls within the context that would make the host wait, on whatever device the tensors are."""
    record: list[str] = []

    def recording(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            record.append(name)
            return method(tensor, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch, _Operators(record):
        for name in METHODS:
            patch.setattr(Tensor, name, recording(name, getattr(Tensor, name)))
        yield record
