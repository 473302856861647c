"""Configuration of a cell, one training run: all that changes its science is here, and so in its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from typing_extensions import override

from nllgen.study.image_sets import IMAGE_SETS, SIDE, ImageSet, SourceName, num_training
from nllgen.study.models import (
    AnyArchitecture,
    Count,
    DCGANConfig,
    FlowConfig,
    Frozen,
    ImportedConfig,
    Sha256,
    without_defaults,
)
from nllgen.study.paradigms import AdversarialConfig, AnyParadigm, NLLConfig, NSGANConfig
from nllgen.study.sections import MetricsConfig
from nllgen.study.validation import Contradiction

SCHEMA = 2
HELD_OUT = 10_000  # of each held-out split, unless a study says otherwise

Degree = Literal["U3", "U2", "U1", "W", "W*", "O1", "O2"]
Precision = Literal["fp32", "bf16"]


class DataConfig(Frozen):
    """The images that a cell is trained and measured on.

    Attributes:
        source: a published set, ``mnist``, ``fashion-mnist``, ``kmnist`` or ``emnist-digits``; a ``file`` of one's own
            images; or ``synthetic`` images drawn from the study's truth.
        path: .npz file or directory of the images of ``source: file``, relative to the study's file. It is not in the
            id.
        sha256: SHA-256 of the content of those images, which ``nllgen assets digest PATH`` prints.
        image_size: height and width that a published set is averaged down to: 28, 14 or 7. Synthetic images have the
            truth's, and those of a file their own.
        alpha: squeeze of pixels towards 0.5 before the logit, w = α + (1 − 2α)v; within what fp32 inverts to 1 % of a
            level.
        num_train: training images; ``all`` of a published set's (50,000 of MNIST's), or ``fresh`` synthetic images at
            every step.
        num_val, num_test: held-out images that densities are measured on.
        truth_id: id of the truth that synthetic images are drawn from; filled in when the study is loaded.
        image_shape: (C, H, W) of images of a file, and of a truth that was trained on them; filled in likewise.
    """

    source: SourceName = "mnist"
    path: Annotated[str | None, Field(min_length=1, exclude=True)] = None
    sha256: Sha256 | None = None
    image_size: Literal[28, 14, 7] = SIDE
    alpha: Annotated[float, Field(ge=1e-9, le=0.49)] = 1e-6
    num_train: Count | Literal["all", "fresh"] = "all"
    num_val: Annotated[int, Field(ge=2, le=10**6)] = HELD_OUT
    num_test: Annotated[int, Field(ge=2, le=10**6)] = HELD_OUT
    truth_id: str | None = None
    image_shape: Annotated[tuple[Count, Count, Count] | None, Field(strict=False)] = None

    @model_serializer(mode="wrap")
    def _dump_as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = without_defaults(dump(self), {"sha256": None, "image_shape": None})
        if self.image_shape is not None:
            values.pop("image_size", None)  # of published sets alone
        return values

    @override
    def contradictions(self) -> Iterator[Contradiction]:
        """Yield numbers of images that the source does not have, and keys of other sources."""
        if self.source != "file":
            for key in ("path", "sha256"):
                if getattr(self, key) is not None:
                    yield Contradiction(("source", key), f"{key} goes with source: file, not {self.source}")
        if self.image_set is not None:
            yield from self._contradictions_of(self.image_set)
        elif self.source == "file":
            if self.num_train == "fresh":
                yield Contradiction(("source", "num_train"), "num_train: fresh needs source: synthetic, not file")
        elif self.num_train == "all":
            text = "num_train of synthetic data is a number or fresh, not all"
            yield Contradiction(("source", "num_train"), text)

    def _contradictions_of(self, images: ImageSet) -> Iterator[Contradiction]:
        keys, title = ("source", "num_train"), images.title
        if self.num_train == "fresh":
            text = f"num_train: fresh needs source: synthetic; {title} has {images.num_train:,} training images"
            yield Contradiction(keys, text)
        elif self.num_train != "all" and self.num_train > images.num_train:
            yield Contradiction(keys, f"num_train is {self.num_train}, {title} has {images.num_train} training images")
        for key, number in (("num_val", self.num_val), ("num_test", self.num_test)):
            if number > images.num_held_out:
                yield Contradiction(("source", key), f"{key} is {number}, at most {images.num_held_out} on {title}")
        if self.truth_id is not None:
            yield Contradiction(("source", "truth_id"), "truth_id goes with source: synthetic")

    @property
    def is_synthetic(self) -> bool:
        """Return whether the images are drawn from the study's truth, so that their density is known."""
        return self.source == "synthetic"

    @property
    def image_set(self) -> ImageSet | None:
        """Return the published set that the images are from; None where they are from none."""
        return IMAGE_SETS.get(self.source)

    @property
    def num_training(self) -> int | None:
        """Return the number of training images; None where each is fresh."""
        return num_training(self.source, self.num_train)

    @property
    def size_text(self) -> str:
        """Return height and width of an image for people."""
        return f"{self.shape[1]}×{self.shape[2]}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of an image, (C, H, W)."""
        return self.image_shape or (1, self.image_size, self.image_size)


_SAMPLE_PARADIGMS = [
    config.model_fields["name"].default for config in get_args(get_args(AnyParadigm)[0]) if not config.needs_log_prob
]


def contradictions_between(
    data: DataConfig | None,
    architecture: AnyArchitecture | None,
    paradigm: AnyParadigm | None,
    start: object,
    start_noise: object = 0.0,
) -> Iterator[Contradiction]:
    """Yield the parts of a cell that do not go together, by their dotted keys; a part that is None is not known."""
    if isinstance(architecture, DCGANConfig) and paradigm and paradigm.needs_log_prob:
        allowed = ", ".join(_SAMPLE_PARADIGMS)
        text = f"dcgan has no density, and paradigm {paradigm.name} needs one; allowed: {allowed}"
        yield Contradiction(("dcgan", "paradigm.name"), text)
    if start == "truth" and architecture and not isinstance(architecture, FlowConfig):
        yield Contradiction(("start",), "start: truth takes the truth's weights, which fit only a flow")
    if start == "random" and isinstance(start_noise, int | float) and start_noise:
        text = "start_noise is noise on the truth's weights, which needs start: truth"
        yield Contradiction(("start", "start_noise"), text)
    if data and paradigm and paradigm.needs_truth and not data.is_synthetic:
        text = f"paradigm {paradigm.name} needs the data's density: source: synthetic, not {data.source}"
        yield Contradiction(("data.source", "paradigm.name"), text)


class Cell(Frozen):
    """One training run.

    Attributes:
        flow, dcgan, model: architecture of the model; exactly one of them is set.
        start: initial weights: ``random``, or ``truth`` for the truth's own.
        start_noise: standard deviation of normal noise on the truth's weights, as a share of the root mean square of
            each array of weights; for ``start: truth``. At the truth itself the oracle's gradient is 0.
        precision: arithmetic of training, resolved at submission; reported densities are always fp32.
        seed: seed of every random stream; on synthetic data also the number of the disjoint block of training images.
        degree: name of the flow relative to the truth. It is a label and not in the id, since the flow itself is.
    """

    data: DataConfig
    flow: FlowConfig | None = None
    dcgan: DCGANConfig | None = None
    model: ImportedConfig | None = None
    paradigm: AnyParadigm = NLLConfig()
    start: Literal["random", "truth"] = "random"
    start_noise: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    precision: Precision = "fp32"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    degree: Degree | Literal["custom"] = "custom"

    @model_serializer(mode="wrap")
    def _dump_as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(dump(self), {"start_noise": 0.0})

    @override
    def contradictions(self) -> Iterator[Contradiction]:
        """Yield a number of models other than one, a model of other images, and parts that do not go together."""
        if (count := sum(part is not None for part in (self.flow, self.dcgan, self.model))) != 1:
            text = f"exactly one of flow, dcgan and model is needed, not {count}"
            yield Contradiction(("flow", "dcgan", "model"), text)
            return
        if self.architecture.shape != self.data.shape:
            text = f"the flow is for images of shape {self.architecture.shape}, the data are {self.data.shape}"
            yield Contradiction(("data", "flow"), text)
        yield from contradictions_between(self.data, self.architecture, self.paradigm, self.start, self.start_noise)

    @property
    def architecture(self) -> AnyArchitecture:
        """Return the architecture of the model that is trained."""
        architecture = self.flow or self.dcgan or self.model
        assert architecture is not None
        return architecture

    @property
    def has_prediction(self) -> bool:
        """Return whether the linearised game predicts its training.

        The prediction holds for NSGAN from the truth, on the truth's data, by simultaneous gradient steps. Adam's steps
        are no gradient steps, alternating steps have another Jacobian, and decaying instance noise changes the game.
        """
        config = self.paradigm
        return (
            isinstance(config, NSGANConfig)
            and (self.start, self.start_noise) == ("truth", 0.0)
            and self.data.is_synthetic
            and (config.optimizer, config.updates, config.instance_noise) == ("sgd", "simultaneous", 0.0)
            and (config.r2_gamma, config.spectral_norm) == (0.0, False)
            and config.steps > 0
        )

    @property
    def real_nvp(self) -> FlowConfig:
        """Return the flow of a cell that must have one, such as a truth."""
        assert self.flow is not None
        return self.flow

    @cached_property
    def id(self) -> str:
        """Hash the schema version and the cell without its label to 16 hexadecimal digits."""
        dcgan, flow, model = (part.canonical if part else "null" for part in (self.dcgan, self.flow, self.model))
        noise = f',"start_noise":{json.dumps(self.start_noise)}' if self.start_noise else ""
        text = (  # sorted by key, as canonical JSON is
            f'{{"cell":{{"data":{self.data.canonical},"dcgan":{dcgan},"flow":{flow},"model":{model},'
            f'"paradigm":{self.paradigm.canonical},"precision":"{self.precision}","seed":{self.seed},'
            f'"start":"{self.start}"{noise}}},"schema":{SCHEMA}}}'
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def groups_every(self, metrics: MetricsConfig) -> tuple[str, ...]:
        """Return the groups of metrics at every evaluation: those of the study, and of a game's images the recall.

        A game that drops modes can have a small Fréchet distance; its recall shows it.
        """
        is_game = isinstance(self.paradigm, AdversarialConfig) and "frechet" in metrics.every
        return (*metrics.every, "prdc") if is_game and "prdc" not in metrics.every else metrics.every

    @property
    def kind(self) -> str:
        """Return the model's short name: the degree of a flow, ``dcgan``, or the name of a factory."""
        if self.model is not None:
            return self.model.factory.partition(":")[2]
        return "dcgan" if self.dcgan is not None else self.degree

    @property
    def label(self) -> str:
        """Return a short text for tables and logs: kind, paradigm, data with their number, start, seed."""
        data = f"{self.data.source}:{self.data.num_train}"
        start = f"{self.start} + {self.start_noise:g} noise" if self.start_noise else self.start
        return f"{self.kind} {self.paradigm.name} {data} {start} seed {self.seed}"
