"""Models of the user's own, named by an import path: any module with ``log_prob`` and ``sample``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nllgen.errors import ConfigError
from nllgen.models.model import DensityModel, eval_mode
from nllgen.study.config import ImportedConfig

_CONTRACT = (
    "a factory accepts shape=(C, H, W) and its options, and returns a torch.nn.Module with "
    "log_prob(x (N, C, H, W)) → (N,) in nats and sample(n, generator) → (n, C, H, W) in logit space"
)
# of the whole process: how to read each, and how to write it
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(
        (partial(getattr, torch.backends.cudnn, name), partial(setattr, torch.backends.cudnn, name))
        for name in ("allow_tf32", "deterministic", "benchmark")
    ),
)
_ROUNDING = 1e-4  # of densities, relative; it depends on the number of images in a batch


class ImportedModel(DensityModel):
    """A module that a user's factory returned, checked once for what training and measurements rely on.

    If the module has a method ``initialise(x)``, that is called with a batch of data before training. The global
    settings and the seed of torch that the user's code sets are undone after each call.

    Raises:
        ConfigError: the factory or its module breaks the contract; the message names the reason.
    """

    def __init__(self, config: ImportedConfig):
        super().__init__()
        self.config = config
        self.shape = config.shape
        with _settings_kept(), torch.random.fork_rng(devices=[]):
            self.factory = _load_factory(config.factory)
        with _settings_kept():
            self.inner = _call_factory(self.factory, config)
        with torch.random.fork_rng(devices=[]):
            self._check_contract()

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        with _settings_kept():
            value: Tensor = self.inner.log_prob(x)  # type: ignore[operator]
        return value.double()

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        with _settings_kept():
            x: Tensor = self.inner.sample(n, generator=generator)  # type: ignore[operator]
        return x

    @override
    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        if hasattr(self.inner, "initialise"):
            with _settings_kept():
                self.inner.initialise(x)  # type: ignore[operator]

    @property
    @override
    def provenance(self) -> dict[str, str]:
        """Return the digest of the factory's file, and the versions of the packages behind factory and model."""
        versions = {f"model:{self.config.factory}": _file_sha256(self.factory.__module__)}
        for module in dict.fromkeys((self.factory.__module__, *(type(m).__module__ for m in self.inner.modules()))):
            top = module.partition(".")[0]
            if top not in ("nllgen", "torch"):
                versions[f"package:{top}"] = _version(top)
        return versions

    def _check_contract(self) -> None:
        for name in ("log_prob", "sample"):
            if not callable(getattr(self.inner, name, None)):
                raise self._broken(f"it returned a {type(self.inner).__name__} without {name}")
        if not any(p.requires_grad for p in self.inner.parameters()):
            raise self._broken("it returned a model without trainable parameters")
        x, again = (self._call("sample", (3, *self.shape), 3, torch.Generator().manual_seed(0)) for _ in range(2))
        if x.dtype != torch.get_default_dtype():
            raise self._broken(f"sample returns {x.dtype}, not {torch.get_default_dtype()}")
        if not torch.equal(x, again):
            raise self._broken("sample is random beyond its generator, or not finite")
        with eval_mode(self.inner):  # in which it is measured
            self._check_density(x.detach())

    def _check_density(self, x: Tensor) -> None:
        density, again = self._call("log_prob", (3,), x), self._call("log_prob", (3,), x)
        if density.dtype not in (x.dtype, torch.float64):
            raise self._broken(f"log_prob of {x.dtype} returns {density.dtype}")
        if not density.requires_grad:
            raise self._broken("log_prob passes no gradient to the parameters")
        if not density.isfinite().all():
            raise self._broken(f"log_prob of its own samples is not finite: {density.tolist()}")
        if not torch.equal(density, again):
            raise self._broken("log_prob of the same images differs between two calls in evaluation mode")
        rows = torch.cat([self._call("log_prob", (1,), row) for row in torch.split(x, 1)])
        if not torch.allclose(density, rows, rtol=_ROUNDING, atol=100 * _ROUNDING):
            raise self._broken("log_prob of an image depends on the other images of the batch in evaluation mode")

    def _call(
        self, name: str, shape: tuple[int, ...], argument: Any, generator: torch.Generator | None = None
    ) -> Tensor:
        """Call a method of the user's module and check the shape of the result."""
        options = {} if generator is None else {"generator": generator}
        try:
            with _settings_kept():
                value = getattr(self.inner, name)(argument, **options)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise self._broken(f"{name} raised {type(error).__name__}: {error}") from error
        if not isinstance(value, Tensor):
            raise self._broken(f"{name} returned a {type(value).__name__}")
        if value.shape != shape:
            raise self._broken(f"{name} of {shape[0]} images has shape {tuple(value.shape)}, not {shape}")
        return value

    def _broken(self, reason: str) -> ConfigError:
        return ConfigError(f"model.factory {self.config.factory}: {reason}", _CONTRACT)


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Keep what a user's code may set: torch's defaults, threads, gradients, and the exactness of its arithmetic."""
    before = [read() for read, _ in _SETTINGS]
    device = torch.get_default_device()  # whose usual value is written as None
    try:
        yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        for (read, write), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                write(value)


def _load_factory(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.factory {path} cannot be imported: {error}",
            "install its package in nllgen's environment, or add its directory to PYTHONPATH",
        ) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # importing runs the user's code
        raise ConfigError(
            f"model.factory {path} cannot be imported: {type(error).__name__}: {error}", f"mend {module}"
        ) from error
    if not callable(factory):
        raise ConfigError(f"model.factory {path} is a {type(factory).__name__}, not a function or class", _CONTRACT)
    if not _returns_module(factory):
        raise ConfigError(
            f"model.factory {path} is not declared to return a torch.nn.Module",
            "name a subclass of it, or annotate the function: def make(*, shape) -> nn.Module",
        )
    checked: Callable[..., Any] = factory
    return checked


def _returns_module(factory: Callable[..., Any]) -> bool:
    """Return whether it is a subclass of nn.Module, or a function annotated or documented to return one."""
    if isinstance(factory, type):
        return issubclass(factory, nn.Module)
    if not inspect.isfunction(factory):
        return False
    try:
        returned = typing.get_type_hints(factory).get("return")
    except Exception:  # evaluating the user's annotations may raise anything
        returned = None
    if isinstance(returned, type) and issubclass(returned, nn.Module):
        return True
    return "nn.Module" in str(factory.__annotations__.get("return", "")) or "nn.Module" in (factory.__doc__ or "")


def _call_factory(factory: Callable[..., Any], config: ImportedConfig) -> nn.Module:
    try:
        made = factory(shape=config.shape, **config.options)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ConfigError(
            f"model.factory {config.factory} with options {config.options}: {type(error).__name__}: {error}", _CONTRACT
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"model.factory {config.factory} returned a {type(made).__name__}, not a torch.nn.Module", _CONTRACT
        )
    return made


def _file_sha256(module: str) -> str:
    path = getattr(importlib.import_module(module), "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "unknown"


def _version(top: str) -> str:
    try:
        return version(top)
    except PackageNotFoundError:  # look the distribution up by its package, which is slower
        names = packages_distributions().get(top)
        return version(names[0]) if names else "unknown"
