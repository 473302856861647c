"""The truth: a frozen Real NVP whose samples are the synthetic data."""

from __future__ import annotations

import hashlib
import io
import pickle
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nllgen.errors import MADE_ANEW, AssetError, ConfigError, CorruptFileError, MachineError, SchemaError, reading
from nllgen.models import RealNVP
from nllgen.study.config import SCHEMA, Cell
from nllgen.study.stored import parse_cell_json
from nllgen.study.tensor_archive import check_archive
from nllgen.study.untrusted_files import read_regular

_DIGEST = "content_sha256"
_MAX_BYTES = 2**32


@dataclass(frozen=True)
class Truth:
    """A truth and its provenance.

    Attributes:
        cell: the training run that made it.
        flow: in evaluation mode, without gradients.
        sha256: digest of its weights. Training on another machine gives other weights.
    """

    cell: Cell
    flow: RealNVP
    sha256: str

    @property
    def id(self) -> str:
        """Return the digest of its configuration."""
        return self.cell.id


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Compute a digest over names, dtypes, shapes and bytes of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load_tensors(path: Path | str) -> dict[str, Any]:
    """Read a file of tensors and plain values with ``weights_only=True``.

    Raises:
        CorruptFileError: it is damaged, truncated, or holds other types.
        AssetError: it does not exist.
        MachineError: it cannot be read now.
    """
    path = Path(path)
    try:
        with reading(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("is not a file")
            content = io.BytesIO(read_regular(path, _MAX_BYTES))
            check_archive(content)
            value = torch.load(content, map_location="cpu", weights_only=True)
        if not isinstance(value, dict):
            raise TypeError(f"holds a {type(value).__name__}, not a dictionary")
        # torch does not detect damage inside a tensor; files of earlier versions have no digest
        if value.pop(_DIGEST, None) not in (None, _digest(value)):
            raise ValueError("its content does not match its digest")
    except FileNotFoundError as error:
        raise AssetError(f"{path}: no such file", "submit the study again to create it") from error
    except MachineError:
        raise
    except Exception as error:  # torch raises a dozen types on damaged files and documents none
        # torch's message about a refused type recommends to load it without weights_only
        why = "" if isinstance(error, pickle.UnpicklingError) else f": {str(error)[:200].partition(chr(10))[0]}"
        raise CorruptFileError(
            f"{path}: not a file of weights ({type(error).__name__}{why})",
            f"is it the right file? {MADE_ANEW}",
        ) from error
    return value


def to_bytes(value: dict[str, Any]) -> bytes:
    """Serialise tensors and plain values as the bytes of a ``.pt`` file that includes their digest."""
    buffer = io.BytesIO()
    torch.save({**value, _DIGEST: _digest(value)}, buffer)
    return buffer.getvalue()


def _digest(value: object) -> str:
    """Compute the SHA-256 over every value and its path."""
    digest = hashlib.sha256()
    for path, item in _flatten("", value):
        digest.update(f"{path}\0".encode())
        if isinstance(item, Tensor):
            digest.update(f"{item.dtype}{tuple(item.shape)}".encode())
            digest.update(item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(item).encode())
    return digest.hexdigest()


def _flatten(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict | list | tuple):
        yield path, len(value)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flatten(f"{path}/{key!r}", item)
    else:
        yield path, value


def truth_bytes(cell: Cell, weights: dict[str, Tensor]) -> bytes:
    """Return the content of truth.pt."""
    return to_bytes({"schema": SCHEMA, "cell": cell.model_dump_json(), "weights": weights})


def load_truth(path: Path | str, device: torch.device, cell: Cell | None = None) -> Truth:
    """Read truth.pt.

    Args:
        path: of the file.
        device: of the flow.
        cell: the study's truth, whose base may have another scale than that of a truth that ships; None takes the
            truth as it was trained.

    Raises:
        CorruptFileError: it is damaged, or its weights do not match its configuration.
        SchemaError: it was written with another schema, or its model is unknown here.
        AssetError: it does not exist.
    """
    content = load_tensors(path)
    schema = content.get("schema")
    if not isinstance(schema, int) or schema != SCHEMA:
        raise SchemaError(f"{path}: schema {schema}, this version reads {SCHEMA}", "train the truth again")
    try:
        trained = parse_cell_json(content["cell"], str(path))
        flow = RealNVP((cell or trained).real_nvp)
        flow.load_state_dict(content["weights"])
    except (MemoryError, SchemaError):
        raise
    except Exception as error:  # torch and pydantic raise many types on wrong content
        raise CorruptFileError(f"{path}: not a truth: {str(error).partition(chr(10))[0]}", MADE_ANEW) from error
    flow.requires_grad_(False).eval().to(device)
    if cell is not None and _unscaled(cell) != _unscaled(trained):
        raise CorruptFileError(f"{path}: holds another truth, {trained.id}", MADE_ANEW)
    return Truth(cell or trained, flow, weights_sha256(flow.state_dict()))


def _unscaled(cell: Cell) -> str:
    """Return the id of a truth whose base has the scale 1."""
    return cell.model_copy(update={"flow": cell.real_nvp.model_copy(update={"base_scale": 1.0})}).id


def check_fits(truth: Truth, cell: Cell) -> None:
    """Check that a cell on synthetic data, or one that starts at the truth, fits this truth.

    Raises:
        ConfigError: ids, shapes or flows differ.
    """
    if cell.data.is_synthetic and cell.data.truth_id != truth.id:
        raise ConfigError(f"cell {cell.id} uses data of truth {cell.data.truth_id}, this truth is {truth.id}")
    if cell.data.shape != truth.cell.data.shape:
        raise ConfigError(f"the truth's images have shape {truth.cell.data.shape}, the cell's {cell.data.shape}")
    if cell.start == "truth" and cell.flow != truth.cell.flow:
        raise ConfigError(
            f"cell {cell.id} starts at the truth, but has another flow: {cell.flow!r}", "degree W has the truth's flow"
        )
