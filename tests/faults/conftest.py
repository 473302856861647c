"""Number of examples: few on every commit, more with NLLGEN_SOAK, which ``make soak`` sets."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", max_examples=80, deadline=None, derandomize=True, database=None)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=400)


@pytest.fixture(scope="session")
def profile() -> settings:
    """Settings of tests whose actions hypothesis draws."""
    return settings.get_profile("soak" if os.environ.get("NLLGEN_SOAK") else "ci")
