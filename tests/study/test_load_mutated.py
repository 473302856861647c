"""Mutated studies: each is a study or a typed error."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from nllgen.errors import ConfigError
from nllgen.study.load import parse_study
from tests.study.grids import GOOD

TOKENS = sorted(
    {
        *GOOD.replace(":", " : ").split(),
        "\n",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!int ",
        "<<",
        "~",
        "?",
    }
    | {
        "zip:",
        "paradigm.lr",
        "W*",
        "1e-3",
        "-1",
        "0",
        "1e999",
        "99999999999999999999",
        "true",
        "null",
        "'",
        '"',
        "|",
        "\t",
    }
)


EDIT = st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(TOKENS) | st.text(max_size=5))


@settings(max_examples=300, deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=6))
def test_mutated_yaml_is_a_study_or_a_config_error(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, new in edits:
        text = text[:start] + new + text[start + length :]
    with contextlib.suppress(ConfigError):
        parse_study(text, "g.yaml", precision="fp32")
