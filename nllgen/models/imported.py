"""A model of the user's own, by its import path: anything with ``log_prob`` and ``sample``."""

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
    "a factory takes shape=(C, H, W) and its options, and returns a torch.nn.Module with "
    "log_prob(x (N, C, H, W)) → (N,) in nats and sample(n, generator) → (n, C, H, W) in logit space"
)


class ImportedModel(DensityModel):
    """What a factory made, tried once: both methods are there, give the right shapes and let gradients through.

    Where the module has a method ``initialise(x)``, it is given a batch of data before training.
    """

    def __init__(self, config: ImportedConfig):
        super().__init__()
        self.config = config
        self.shape = config.shape
        self.factory = _load(config.factory)
        self.inner = _make(self.factory, config)
        self._try()

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
        """Digest of the factory's file, and the version of each package behind it and the model."""
        found = {f"model:{self.config.factory}": _file_sha256(self.factory.__module__)}
        for module in dict.fromkeys((self.factory.__module__, *(type(m).__module__ for m in self.inner.modules()))):
            top = module.partition(".")[0]
            if top not in ("nllgen", "torch"):
                found[f"package:{top}"] = _version(top)
        return found

    def _try(self) -> None:
        path = self.config.factory
        for name in ("log_prob", "sample"):
            if not callable(getattr(self.inner, name, None)):
                raise ConfigError(f"model.factory {path} made a {type(self.inner).__name__} without {name}", _CONTRACT)
        if not any(p.requires_grad for p in self.inner.parameters()):
            raise ConfigError(f"model.factory {path} made a model without anything to train", _CONTRACT)
        with torch.random.fork_rng(devices=[]):
            x, again = (self._call("sample", 3, generator=torch.Generator().manual_seed(0)) for _ in range(2))
            self._check("sample(3)", x, (3, *self.shape))
            density = self._call("log_prob", x.detach())
        self._check("log_prob of 3 images", density, (3,))
        if not torch.equal(x, again):
            raise ConfigError(f"model.factory {path}: sample draws elsewhere than from its generator", _CONTRACT)
        if not density.requires_grad:
            raise ConfigError(f"model.factory {path}: no gradient goes through log_prob to the parameters", _CONTRACT)

    def _call(self, name: str, *args: Any, **options: Any) -> Tensor:
        try:
            found = getattr(self.inner, name)(*args, **options)
        except Exception as error:  # the user's own code: whatever it raises
            raise ConfigError(
                f"model.factory {self.config.factory}: {name} raised {type(error).__name__}: {error}", _CONTRACT
            ) from error
        if not isinstance(found, Tensor):
            raise ConfigError(f"model.factory {self.config.factory}: {name} gave a {type(found).__name__}", _CONTRACT)
        return found

    def _check(self, what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            found = tuple(tensor.shape)
            raise ConfigError(f"model.factory {self.config.factory}: {what} has shape {found}, not {shape}", _CONTRACT)


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.factory {path} cannot be imported: {error}",
            "install its package beside nllgen, or put its folder on PYTHONPATH",
        ) from error
    if not callable(found):
        raise ConfigError(f"model.factory {path} is a {type(found).__name__}, not a function or class", _CONTRACT)
    if not _makes_modules(found):
        raise ConfigError(
            f"model.factory {path} does not say that it makes a torch.nn.Module, and is not called",
            "name a class that is one, or annotate what the function returns: def make(*, shape) -> nn.Module",
        )
    made: Callable[..., Any] = found
    return made


def _makes_modules(factory: Callable[..., Any]) -> bool:
    """Whether it is a class of modules, or a function that is annotated or documented to return one."""
    if isinstance(factory, type):
        return issubclass(factory, nn.Module)
    if not inspect.isfunction(factory):
        return False
    try:
        returned = typing.get_type_hints(factory).get("return")
    except Exception:  # names that are not there: whatever the user's own annotations raise
        returned = None
    if isinstance(returned, type) and issubclass(returned, nn.Module):
        return True
    return "nn.Module" in str(factory.__annotations__.get("return", "")) or "nn.Module" in (factory.__doc__ or "")


def _make(factory: Callable[..., Any], config: ImportedConfig) -> nn.Module:
    try:
        made = factory(shape=config.shape, **config.options)
    except Exception as error:  # the user's own code: whatever it raises
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
    except PackageNotFoundError:  # most distributions have the name of what they hold, and this reads all of them
        names = packages_distributions().get(top)
        return version(names[0]) if names else "unknown"
