"""Text of a study folder, read without believing it: no control characters reach a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

STUDY_BYTES = 512 << 20  # a manifest of 100,000 cells has a fifth of it
HEADER_BYTES = 2 << 20  # a study without its cells has a few thousand, and about as many as its trials have
_MAX_VALUES = 2**21  # of a JSON text: a submission of 100,000 cells has a tenth of it
# of terminals, of the direction of text, and separators of lines
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def parse_untrusted_json(text: str | bytes) -> Any:
    """Return the values of a JSON text, every text among them made harmless.

    Raises:
        ValueError, RecursionError: it is no JSON, nested too deeply, or has too many values.
    """
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    if sum(map(text.count, ",[{")) > _MAX_VALUES:  # an empty list takes 30 times its text
        raise ValueError(f"it has more than {_MAX_VALUES:,} values")
    value = json.loads(text)
    # most have none, and are not gone through
    return _without_controls(value) if "\\u" in text or _CONTROLS.search(text) else value


def _without_controls(value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, list):
        return [_without_controls(item) for item in value]
    if isinstance(value, dict):
        return {escape_controls(key): _without_controls(item) for key, item in value.items()}
    return value


def escape_controls(text: str) -> str:
    """Return a text whose control characters a terminal shows instead of obeying; a log may hold anything."""
    return _CONTROLS.sub(lambda match: _picture(ord(match[0])), text.replace("\r\n", "\n").replace("\r", "\n"))


def _picture(code: int) -> str:
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
