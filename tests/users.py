"""Tests that give files to another user."""

from __future__ import annotations

import os

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root, to give files to another user")
