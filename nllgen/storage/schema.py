"""Schema 3: every HDF5 path, column, dtype and unit, in one place. Other programs rely on it."""

from __future__ import annotations

from typing import Final

from nllgen.study.metric_groups import EXTRACTORS, NUM_PR_POINTS

SCHEMA: Final = 3

# name → unit. Columns whose unit is "s" measure time and stay out of science_sha256.
HISTORY_COLUMNS: Final = {
    "step": "steps",
    "train_nll_nats": "nats",  # of the batch, before the step; in training precision
    "loss_disc": "nats",
    "loss_gen": "nats",  # of wgan_gp both losses are in its critic's own unit
    "penalty_disc": "1",  # R1, or a gradient penalty; part of what the discriminator minimises, not of loss_disc
    "grad_norm": "1",
    "grad_norm_disc": "1",
    "lr": "1",
    "time_s": "s",
}
# of images, by the features of each extractor: <name>_<extractor>; all but the standard errors also have
# <name>_floor_<extractor>, truth against truth (or real against real) at equal N, NaN with too few held out
IMAGE_METRICS: Final = {
    "frechet": "1",
    "frechet_inf": "1",
    "frechet_inf_se": "1",
    "kid": "1",
    "kid_se": "1",
    "precision": "1",
    "recall": "1",
    "density": "1",
    "coverage": "1",
    "copying_ct": "1",
    "fld": "1",  # hundredths of a nat a feature
    "fld_gap": "1",
    **{f"pr_alpha_{i}": "1" for i in range(1, NUM_PR_POINTS + 1)},  # precision where it is tan(9° i) times the recall
    "frechet_fine": "1",
    "frechet_coarse": "1",
}

METRIC_COLUMNS: Final = {
    "train_nll_nats": "nats",
    "val_nll_nats": "nats",
    "val_bits_per_dim": "bits",
    "overfit_nats": "nats",  # mean over training images of log q − log p
    "kl_nats": "nats",
    "kl_se_nats": "nats",
    "reverse_kl_nats": "nats",
    "reverse_kl_se_nats": "nats",
    "jsd_nats": "nats",
    "jsd_se_nats": "nats",
    "kl_reference_nats": "nats",  # k/(2N), NaN where every image is fresh
    "pareto_k": "1",  # of the weights p/q at draws of q
    "reverse_pareto_k": "1",  # of q/p at draws of p
    **{
        f"{metric}{floor}_{extractor}": unit
        for extractor in EXTRACTORS
        for metric, unit in IMAGE_METRICS.items()
        for floor in ("", "_floor")
        if not (floor and metric.endswith("_se"))
    },
    "critic_jsd_nats": "nats",  # an independent critic's lower bound of the divergence of pixels
    "critic_jsd_se_nats": "nats",
    "critic_jsd_floor_nats": "nats",
    "fp_error_nats": "nats",  # |log q in fp32 − log q in fp64|, largest of a few images
    "inverse_error": "1",  # |x − inverse(forward(x))|, largest of the same images
}

# of the game between the raw weights and their discriminator, not of the model alone
GAME_COLUMNS: Final = {
    "gen_grad_norm": "1",  # of the adversarial loss at new samples, in fp32, without instance noise
    "saturated_share": "1",  # of the values of the model's draws, those beyond the logits that data can have
    "dead_step": "steps",  # of the evaluation since which gen_grad_norm is below 1e-6; NaN where it is not
    "d_minus_r_nats": "nats",  # root mean square of d − (log p − log q) under ½(p + q)
    # where a cell starts at the equilibrium and both players take plain gradient steps at once, at step 0:
    "critical_step": "1",  # the generator's learning rate below which the linearised game contracts
    "critical_step_run": "1",  # the smallest one at which a mode grows by a factor e within the cell's steps
    "critical_real": "1",  # of the eigenvalue behind critical_step
    "critical_imag": "1",
    "num_null": "1",  # null directions; of a large game a lower bound
}

EVAL_COLUMNS: Final = {
    "step": "steps",
    "epoch": "epochs",
    "weights": "name",
    **METRIC_COLUMNS,
    "frechet_choice": "1",  # of 1,000 draws on LeNet's features: chooses the best weights, whatever else is measured
    **GAME_COLUMNS,
    "time_s": "s",
}

# on the test split: the val_ columns become test_ ones
FINAL_COLUMNS: Final = {
    "weights": "name",
    "step": "steps",
    **{name.replace("val_", "test_"): unit for name, unit in METRIC_COLUMNS.items()},
    "time_s": "s",
}

INTEGER_COLUMNS: Final = frozenset({"step", "cell"})
TEXT_COLUMNS: Final = frozenset({"weights"})
TEXT_WIDTH: Final = 16  # bytes of a text column of a result

# of the attribute `attributes` of result.h5, a JSON object, all required
RESULT_ATTRS: Final = (
    "schema",
    "cell_id",
    "cell",
    "study",
    "outcome",
    "version",
    "code_sha256",
    "container_sha256",
    "started_at",
    "finished_at",
    "host",
    "device",
    "num_threads",
    "num_cpus",
    "num_parameters",
    "seconds_per_step",
    "attempts",
    "assets",
    "torch_version",
    "precision",
    "truth_sha256",
    "model_sha256",
    "science_sha256",
    "dead_step",  # as in eval, of the last evaluation; NaN where the gradient lives or there is no game
)
# of these, the header before the HDF5 has as well
HEAD_ATTRS: Final = (
    "schema",
    "cell_id",
    "outcome",
    "finished_at",
    "seconds_per_step",
    "attempts",
    "code_sha256",
    "container_sha256",
    "truth_sha256",
    "model_sha256",
    "science_sha256",
    "dead_step",
)
# of the attribute `attributes` of metrics.<group>.h5, all text and required
EXTRA_METRICS_ATTRS: Final = (
    "group",
    "cell_id",
    "model_sha256",
    "truth_sha256",
    "code_sha256",
    "version",
    "torch_version",
    "measured_at",
    "host",
    "device",
    "num_samples",
    "assets",
)
OUTCOMES: Final = ("done", "diverged")
SPLITS: Final = ("train", "val", "test")

# columns of study.h5's /cells: one row a cell of the study, in its order; a cell without a result has
# outcome "missing" and empty or NaN provenance
CELL_TEXT_COLUMNS: Final = (
    "id",
    "config",
    "role",  # cell or truth
    "outcome",
    "version",
    "code_sha256",
    "container_sha256",
    "started_at",
    "finished_at",
    "host",
    "device",
    "torch_version",
    "precision",
    "truth_sha256",
    "science_sha256",
    "assets",
    "extra_metrics",  # JSON: group measured after the run → the attributes of its file; empty without one
)
CELL_NUMBER_COLUMNS: Final = {
    "num_threads": "threads",
    "num_cpus": "processors",
    "num_parameters": "parameters",
    "seconds_per_step": "s",
    "attempts": "attempts",
}
