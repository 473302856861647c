"""Models of the user's own, named by an import path: any module with ``log_prob`` and ``sample``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import typing
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nllgen.errors import ConfigError
from nllgen.models.model import DensityModel
from nllgen.study.config import ImportedConfig

_CONTRACT = (
    "a factory accepts shape=(C, H, W) and its options, and returns a torch.nn.Module with "
    "log_prob(x (N, C, H, W)) → (N,) in nats and sample(n, generator) → (n, C, H, W) in logit space"
)


class ImportedModel(DensityModel):
    """A module that a user's factory returned, checked once for its methods, their shapes and their gradients.

    If the module has a method ``initialise(x)``, that is called with a batch of data before training.
    """

    def __init__(self, config: ImportedConfig):
        super().__init__()
        self.config = config
        self.shape = config.shape
        self.factory = _load_factory(config.factory)
        self.inner = _call_factory(self.factory, config)
        self._check_contract()

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        value: Tensor = self.inner.log_prob(x)  # type: ignore[operator]
        return value.double()

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        x: Tensor = self.inner.sample(n, generator=generator)  # type: ignore[operator]
        return x

    @override
    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        if hasattr(self.inner, "initialise"):
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
        path = self.config.factory
        for name in ("log_prob", "sample"):
            if not callable(getattr(self.inner, name, None)):
                made = type(self.inner).__name__
                raise ConfigError(f"model.factory {path} returned a {made} without {name}", _CONTRACT)
        if not any(p.requires_grad for p in self.inner.parameters()):
            raise ConfigError(f"model.factory {path} returned a model without trainable parameters", _CONTRACT)
        with torch.random.fork_rng(devices=[]):
            x, again = (self._call("sample", 3, generator=torch.Generator().manual_seed(0)) for _ in range(2))
            self._check_shape("sample(3)", x, (3, *self.shape))
            density = self._call("log_prob", x.detach())
        self._check_shape("log_prob of 3 images", density, (3,))
        if not torch.equal(x, again):
            raise ConfigError(f"model.factory {path}: sample is random beyond its generator", _CONTRACT)
        if not density.requires_grad:
            raise ConfigError(f"model.factory {path}: log_prob passes no gradient to the parameters", _CONTRACT)

    def _call(self, name: str, *args: Any, **options: Any) -> Tensor:
        try:
            value = getattr(self.inner, name)(*args, **options)
        except Exception as error:  # the user's code may raise anything
            raise ConfigError(
                f"model.factory {self.config.factory}: {name} raised {type(error).__name__}: {error}", _CONTRACT
            ) from error
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ConfigError(f"model.factory {self.config.factory}: {name} returned a {kind}", _CONTRACT)
        return value

    def _check_shape(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            actual = tuple(tensor.shape)
            raise ConfigError(f"model.factory {self.config.factory}: {name} has shape {actual}, not {shape}", _CONTRACT)


def _load_factory(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.factory {path} cannot be imported: {error}",
            "install its package in nllgen's environment, or add its directory to PYTHONPATH",
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
    except Exception as error:  # the user's code may raise anything
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
