"""Degrees: architectures of students relative to the truth (science.md, *Students*).

Masks and topology of W ⊂ O1 ⊂ O2 are identical.
"""

from __future__ import annotations

from typing import Any, Literal

from nllgen.study.config import Degree, FlowConfig

DEGREES: tuple[Degree, ...] = ("U3", "U2", "U1", "W", "W*", "O1", "O2")
# degree → meaning, for readers of a report
MEANINGS: dict[Degree | Literal["custom"], str] = {
    "U3": "smaller class of functions: additive couplings, which change no volume",
    "U2": "smaller: a quarter of the truth's width, one block, one scale",
    "U1": "smaller: half of the truth's width, one block",
    "W": "the truth's own architecture",
    "W*": "the truth itself, without training",
    "O1": "larger: twice the truth's width and blocks",
    "O2": "larger: four times the truth's width and blocks",
    "custom": "an architecture of its own",
}


def student(truth: FlowConfig, degree: Degree) -> FlowConfig:
    """Return the flow of a student. That of W* is the truth's; its cells also start at the truth's weights."""
    width, blocks = truth.width, truth.blocks
    changes: dict[Degree, dict[str, Any]] = {
        "U3": {"coupling": "additive"},
        "U2": {"width": max(1, width // 4), "blocks": 1, "scales": 1},
        "U1": {"width": max(1, width // 2), "blocks": 1},
        "W": {},
        "W*": {},
        "O1": {"width": 2 * width, "blocks": 2 * blocks},
        "O2": {"width": 4 * width, "blocks": 4 * blocks},
    }
    return FlowConfig.model_validate(truth.model_dump() | changes[degree])
