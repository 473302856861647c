"""All claims together: too little data, infinite values, verdicts as JSON and tables."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from nllgen_analysis.claims import judge, version1, version2
from nllgen_analysis.claims.tables import verdict_lines, verdicts_json, verdicts_table
from nllgen_analysis.frames import to_frames

from nllgen.errors import CorruptFileError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.claims import VERSION, claims_rules, claims_sha256
from nllgen.study.config import Cell
from nllgen.study.load import load_study
from tests.analysis.claims_known import ALL, ORDERED, degrees, ends, finding, verdicts
from tests.analysis.conftest import build_study, make_cell


@pytest.mark.parametrize("kept", [[], ALL[:1], ALL[::5], degrees("W", seeds=4)])
@pytest.mark.parametrize("version", [1, 2])
def test_too_little_is_undecided_and_says_why(kept: list[Cell], version: int) -> None:
    cells = kept or [make_cell("W*")]
    for row in verdicts(cells, version=version).values():
        assert row.finding.verdict == "undecided", row.id
        assert row.finding.why


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("outcome", ["missing", "diverged"])
def test_a_study_without_a_finished_run_is_undecided_but_for_divergence(outcome: str, version: int) -> None:
    every = tuple(range(len(ALL)))
    lost: dict[str, Any] = {outcome: every}
    result = verdicts(ALL, version=version, **lost)
    assert {row.finding.verdict for row in result.values()} == {"undecided"}
    assert result["C3"].finding.cells  # what was asked is named, with results or without


@pytest.mark.parametrize("version", [1, 2])
def test_columns_of_nan_are_undecided(version: int) -> None:
    columns = ("train_nll_nats", "val_nll_nats", "kl_nats", "frechet_lenet", "frechet_floor_lenet")
    result = verdicts(ALL, lambda cell, step: dict.fromkeys(columns, math.nan), version)
    assert {row.finding.verdict for row in result.values()} == {"undecided"}
    assert "no finite value" in result["C3"].finding.why


def test_infinite_values_do_not_count() -> None:
    values = {"val_nll_nats": math.inf, "kl_nats": math.inf}
    result = finding("C5", degrees("U1", "W"), lambda cell, step: values)
    assert (result.verdict, result.num_seeds) == ("undecided", 0)


def test_a_missing_seed_is_named() -> None:
    cells = degrees("U1", "W")
    result = finding("C5", cells, ends(ORDERED, column="kl_nats"), missing=(7,))
    assert result.verdict == "undecided"
    assert f"seed 2: {cells[7].id} missing" in result.why


@pytest.mark.parametrize(
    ("registered", "status"),
    [("", "unregistered"), (claims_sha256(), "registered"), (claims_sha256(1), "registered"), ("0" * 64, "changed")],
)
def test_the_status_of_the_rules_is_reported(registered: str, status: str) -> None:
    judged = judge(to_frames(build_study(degrees("W"), claims_sha256=registered, samples=0)))
    assert judged.status == status
    assert verdicts_json(judged)["rules"]["status"] == status


def test_verdicts_as_json_and_as_a_table() -> None:
    judged = judge(to_frames(build_study(ALL, samples=0, claims_sha256=claims_sha256())))
    content = json.loads(json.dumps(verdicts_json(judged), allow_nan=False))
    assert [claim["id"] for claim in content["claims"]] == [f"C{i}" for i in range(9)]
    assert [sub["id"] for sub in content["claims"][7]["subclaims"]] == ["C7a", "C7b", "C7c", "C7d"]
    ids = {cell.id for cell in ALL}
    assert all(set(claim["cells"]) <= ids for claim in content["claims"])
    table = verdicts_table(judged)
    assert {"C0", "C7d", "C3: U2 − U1"} <= set(table["claim"])
    assert len(verdict_lines(judged)) == 15
    assert "Registered: max_ratio = 1.5; max_control = 28: 70.0, 14: 22.0. Seen in" in content["claims"][1]["rule"]


def test_verdicts_do_not_depend_on_the_order_of_rows() -> None:
    study = build_study(ALL, samples=0)
    order = np.random.default_rng(1).permutation(len(study.eval["cell"]))
    mixed = replace(study, eval={name: values[order] for name, values in study.eval.items()})
    assert verdicts_json(judge(to_frames(mixed))) == verdicts_json(judge(to_frames(study)))


# Published studies, which registered version 1 of the rules.
OF_VERSION_1 = {"laptop", "equilibrium"}
SERVE_NONE = {"smoke", "known-mnist", "known-mnist-14", "tuning", "thesis-tuning"}


@pytest.mark.parametrize("name", sorted({*builtin_names("jobs")} - SERVE_NONE))
def test_a_study_has_the_cells_of_the_claims_that_it_serves(name: str) -> None:
    """With all cells missing, a claim lacks results but neither arms nor seeds."""
    study = load_study(name, precision="bf16")
    cells = list(study.cells)
    sha256 = claims_sha256(1 if name in OF_VERSION_1 else VERSION)
    missing = tuple(range(len(cells) + 1))
    content = build_study(
        cells, missing=missing, truth=study.truth or False, samples=0, claims_sha256=sha256, tuning=study.tuning
    )
    result = {row.id: row.finding for row in judge(to_frames(content)).rows}
    path = builtin_path("jobs", name)
    assert path is not None
    header = path.read_text().split("\nname:")[0]
    claims = re.findall(r"C\d", header.split("# Claims: ")[1].split("\n#\n")[0])
    assert claims
    lacks = re.compile("planned (seeds have a value|pairs have results)|control has no result|are open")
    for claim in claims:
        for id in [f"C7{part}" for part in "abcd"] if claim == "C7" else [claim]:
            assert lacks.search(result[id].why), f"{id}: {result[id].why}"


@pytest.mark.parametrize("version", [version1, version2])
@pytest.mark.parametrize("wrong", [{"C3": {}}, {"general": {"confidence": 2.0, "min_seeds": 5, "extractor": "lenet"}}])
def test_invalid_rules_are_a_typed_error(
    monkeypatch: pytest.MonkeyPatch, version: ModuleType, wrong: dict[str, Any]
) -> None:
    monkeypatch.setattr("nllgen_analysis.claims.base_rules.claims_rules", lambda number: claims_rules(number) | wrong)
    version.rules.load_rules.cache_clear()
    try:
        with pytest.raises(CorruptFileError, match=r"claims(_v1)?\.toml"):
            version.rules.load_rules()
    finally:
        version.rules.load_rules.cache_clear()
