"""The columns of the frames: unit and meaning of each, the source of docs/frames.md."""

from __future__ import annotations

from typing import Final, NamedTuple

from nllgen.storage.schema import CELL_NUMBER_COLUMNS, EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS

TEXT: Final = "text"
MEASURED: Final = "a measure: docs/science.md, Measures"
_ROW: Final = "row of `cells`"


class Column(NamedTuple):
    """A column of a frame."""

    unit: str  # ``1`` of a number without a unit, ``text`` of words
    meaning: str


_IDENTITY = {
    "id": Column(TEXT, "id of the cell, the name of its directory"),
    "role": Column(TEXT, "`cell`, or `truth` for the truth's own training"),
    "outcome": Column(TEXT, "`done`, `diverged` or `missing`"),
    "label": Column(TEXT, "degree, paradigm, data, start and seed in one line"),
}
_CONFIGURATION = {
    "degree": Column(TEXT, "architecture relative to the truth: U3 … O2; `custom`, `dcgan` or a factory's name"),
    "paradigm": Column(TEXT, "how the cell is trained"),
    "source": Column(TEXT, "where its images come from"),
    "num_train": Column(TEXT, "number of training images, `all` or `fresh`"),
    "image_size": Column("pixels", "height of an image"),
    "truth_id": Column(TEXT, "id of the truth that synthetic images are drawn from; empty without one"),
    "start": Column(TEXT, "initial weights: `random` or `truth`"),
    "start_noise": Column("1", "noise on the truth's weights, a share of their root mean square"),
    "seed": Column("1", "seed of every random stream"),
    "precision": Column(TEXT, "arithmetic of training: `fp32` or `bf16`"),
    "steps": Column("steps", "length of the training"),
    "batch_size": Column("images", "images of a step"),
    "lr": Column("1", "learning rate"),
    "width": Column("1", "feature maps of the coupling networks at the first scale; missing without a flow"),
    "blocks": Column("1", "residual blocks of a coupling network; missing without a flow"),
    "scales": Column("1", "scales of the flow; missing without one"),
    "coupling": Column(TEXT, "`affine` or `additive`; missing without a flow"),
    "num_dims": Column("1", "dimensions of an image, C · H · W"),
}
_NAMES = {
    "student": Column(TEXT, "the degree; *from truth* or, with noise, *near truth* where that is not its own start"),
    "setting": Column(TEXT, "the data in words: source and N, the size where there are several"),
    "slug": Column(TEXT, "the same for file names"),
    "variant": Column(TEXT, "what varies between cells of one student, paradigm and setting; empty where nothing does"),
    "group": Column(TEXT, "student, paradigm, setting and variant: cells of one group differ in the seed alone"),
}
_PROVENANCE = {
    "version": Column(TEXT, "version of nllgen that trained the cell"),
    "code_sha256": Column(TEXT, "digest of its program"),
    "container_sha256": Column(TEXT, "digest of the container; empty without one"),
    "started_at": Column(TEXT, "start of the last attempt, ISO 8601 in UTC"),
    "finished_at": Column(TEXT, "time of the result, ISO 8601 in UTC"),
    "host": Column(TEXT, "name of the machine"),
    "device": Column(TEXT, "the GPU's model, or `cpu`"),
    "torch_version": Column(TEXT, "version of torch"),
    "truth_sha256": Column(TEXT, "digest of the truth's weights; empty where the cell needs none"),
    "science_sha256": Column(TEXT, "digest of all that was found, without times"),
    "assets": Column(TEXT, "JSON: digests of the extractors' weights"),
    "extra_metrics": Column(TEXT, "JSON: groups that were measured after the run"),
    "num_threads": Column(CELL_NUMBER_COLUMNS["num_threads"], "threads of torch"),
    "num_cpus": Column(CELL_NUMBER_COLUMNS["num_cpus"], "processors that the process could use"),
    "num_parameters": Column(CELL_NUMBER_COLUMNS["num_parameters"], "size of the model"),
    "seconds_per_step": Column(CELL_NUMBER_COLUMNS["seconds_per_step"], "mean duration of a training step"),
    "attempts": Column(CELL_NUMBER_COLUMNS["attempts"], "attempts until the result"),
}
_OWN_MEANING = {
    "step": "optimiser steps taken",
    "epoch": "passes over the training images; missing where every image is fresh",
    "lr": "learning rate of the step",
    "loss_disc": "loss of the discriminator",
    "loss_gen": "loss of the generator",
    "penalty_disc": "penalty that the discriminator minimises beside its loss",
    "grad_norm": "norm of the model's gradient",
    "grad_norm_disc": "norm of the discriminator's gradient",
}
_CELL = {"cell": Column("1", _ROW)}

CELL_COLUMNS: Final = _IDENTITY | _CONFIGURATION | _NAMES | _PROVENANCE
SELECTABLE: Final = tuple(name for name in (*_CONFIGURATION, "student") if name not in ("truth_id", "num_dims"))
# columns of a cell that the long frames carry; join_cells adds others
KEYS: Final = (
    "id", "role", "outcome", "degree", "student", "paradigm", "source", "num_train", "image_size", "setting", "slug",
    "start", "seed", "variant", "group", "num_parameters",
)  # fmt: skip
_OF_CELL = {name: CELL_COLUMNS[name] for name in KEYS}


def _measured(units: dict[str, str], time: str, weights: str = "") -> dict[str, Column]:
    meanings = _OWN_MEANING | {"time_s": time, "weights": weights}
    return {
        name: Column(TEXT if name == "weights" else unit, meanings.get(name, MEASURED)) for name, unit in units.items()
    }


# frame → column → unit and meaning
COLUMNS: Final = {
    "cells": CELL_COLUMNS,
    "eval": _CELL | _measured(EVAL_COLUMNS, "duration of the evaluation", "`raw` or `ema`") | _OF_CELL,
    "final": _CELL | _measured(FINAL_COLUMNS, "duration of the measurement", "`last`, `best` or `ema`") | _OF_CELL,
    "history": _CELL | _measured(HISTORY_COLUMNS, "time spent in training steps so far"),
    "samples": _CELL
    | {
        "number": Column("1", "0, 1, … of the images of this cell"),
        "image": Column("1", "an array (C, H, W) of float32 in [0, 1], drawn from the last weights"),
    },
}
