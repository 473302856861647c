"""Configuration of architectures: Real NVP, the DCGAN generator of the positive control, and imported models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from typing_extensions import override

from nllgen.study.image_sets import SIDE
from nllgen.study.validation import Contradiction, ContradictionError, text_of_form

OWN: Final = "nllgen"  # a package that ``plugins`` need not list

Name = Annotated[
    str,
    text_of_form(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", "at most 64 letters, digits, - and _, the first no - or _"),
]
Module = Annotated[str, text_of_form(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", "a module, such as package.module", 200)]
Sha256 = Annotated[str, text_of_form(r"^[0-9a-f]{64}$", "a SHA-256, 64 hexadecimal digits")]
Count = Annotated[int, Field(ge=1, le=10**9)]
Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Frozen(BaseModel):
    """An immutable, strict model that forbids unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield the values that are allowed each and not together."""
        yield from ()

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        contradictions = self.contradictions()
        if (first := next(contradictions, None)) is not None:
            raise ContradictionError(self, (first, *contradictions))
        return self

    @cached_property
    def canonical(self) -> str:
        """Return the model as canonical JSON, made once: thousands of cells share a section.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        return _CANONICAL.encode(self.model_dump(mode="json"))

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as pydantic does, without cached properties."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


def without_defaults(values: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out keys at their defaults, so that ids of cells from before these keys existed stay what they are."""
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}


class Architecture(Frozen):
    """The base of all architectures.

    Attributes:
        shape: (C, H, W) of an image, taken from the cell's data.
    """

    shape: Annotated[tuple[Count, Count, Count], Field(strict=False)] = (1, SIDE, SIDE)

    @property
    def num_dims(self) -> int:
        """Return the dimensions of an image, C·H·W."""
        return self.shape[0] * self.shape[1] * self.shape[2]


class FlowConfig(Architecture):
    """A Real NVP.

    Attributes:
        width: feature maps of the coupling networks at the first scale; they double at each squeeze.
        blocks: residual blocks in each coupling network.
        scales: number of scales; 1 has 4 checkerboard couplings, 2 is the multi-scale model of science.md.
        coupling: ``affine``, or ``additive``, which preserves volume up to ActNorm.
        base: density of the latents; ``student_t`` is the multivariate t of Alexanderson & Henter (2020).
        dof: degrees of freedom ν of ``student_t``; not allowed with ``normal``.
        base_scale: scale T of the base density, which is that of T·z for a latent z of the base. Below 1, samples are
            nearer to the mode, and log-densities stay exact.
    """

    width: Annotated[int, Field(ge=1, le=1024)] = 32
    blocks: Annotated[int, Field(ge=0, le=64)] = 2
    scales: Annotated[int, Field(ge=1, le=6)] = 2
    coupling: Literal["affine", "additive"] = "affine"
    base: Literal["normal", "student_t"] = "normal"
    dof: Annotated[float, Field(gt=0, le=10**6, allow_inf_nan=False)] | None = None
    base_scale: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1.0

    @model_serializer(mode="wrap")
    def _dump_as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(dump(self), {"base_scale": 1.0})

    @override
    def contradictions(self) -> Iterator[Contradiction]:
        """Yield scales that do not divide the image, and degrees of freedom without their density or the reverse."""
        factor = 2 ** (self.scales - 1)
        if self.shape[1] % factor or self.shape[2] % factor:
            text = f"{self.scales} scales need a height and width divisible by {factor}, the image is {self.shape}"
            yield Contradiction(("shape", "scales"), text)
        if self.base == "student_t" and self.dof is None:
            yield Contradiction(("dof", "base"), "base: student_t needs dof, its degrees of freedom, for example 20")
        if self.base == "normal" and self.dof is not None:
            yield Contradiction(("base", "dof"), f"dof is {self.dof}, which needs base: student_t")


class DCGANConfig(Architecture):
    """A DCGAN generator (Radford et al. 2016): samples without a density, the positive control of claim C1.

    Attributes:
        width: feature maps before the last layer; the layers before have twice and four times as many.
        latent_dim: dimensions of the standard normal latents.
    """

    width: Annotated[int, Field(ge=1, le=1024)] = 32
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 64


def _check_options(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if wrong := [key for key in options if not key.isidentifier() or key == "shape"]:
        names = ", ".join(map(repr, wrong))
        raise ValueError(f"options has {names}, which is no name of a keyword argument other than shape")
    _options_json(options)
    return options


def _options_json(options: dict[str, JsonValue]) -> str:
    try:
        return json.dumps(options, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"options hold a number that is not finite: {error}") from error


class ImportedConfig(Architecture):
    """A user's model, built by ``factory(shape, **options)`` in the worker (see ``nllgen.models.imported``).

    Attributes:
        factory: import path, ``package.module:name``.
        options: keyword arguments of the factory.
    """

    factory: Annotated[
        str,
        text_of_form(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", "an import path, package.module:name", 200),
    ]
    options: Annotated[dict[str, JsonValue], AfterValidator(_check_options)] = {}

    @property
    def module(self) -> str:
        """Return the module of the factory."""
        return self.factory.partition(":")[0]

    def is_under(self, plugins: Iterable[str]) -> bool:
        """Return whether the module is one of ``plugins``, lies in one of them, or is part of nllgen."""
        return any(self.module == plugin or self.module.startswith(f"{plugin}.") for plugin in (OWN, *plugins))

    @override
    def __hash__(self) -> int:
        return hash((self.shape, self.factory, _options_json(self.options)))


AnyArchitecture = FlowConfig | DCGANConfig | ImportedConfig
