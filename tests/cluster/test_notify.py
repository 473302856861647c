"""The last step of a study on a cluster tells its user, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.studies import REAL, OnCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
TELL = 'echo "$NLLGEN_STATE $NLLGEN_NUM_DONE of $NLLGEN_NUM_TASKS; $NLLGEN_VERDICTS" >> "$NLLGEN_STUDY_DIR/told"'


@pytest.mark.parametrize(("lines", "told"), [((), "done 2 of 2; 9 undecided\n"), (("false",), "failed 0 of 2; \n")])
def test_the_collection_tells_of_the_end(
    make_study: Callable[..., OnCluster], lines: tuple[str, ...], told: str
) -> None:
    study = make_study("telling", seeds=2, text=REAL, profile={"setup": list(lines)})
    study.submit("--notify", TELL)
    study.wait_end()
    assert (study.folder.path / "told").read_text() == told
