"""Tables as LaTeX with booktabs, for pdfLaTeX; every text is escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import pandas as pd

LONGEST_TABULAR = 40
LONGEST_WORD = 16  # in a column that is broken into lines; hashes are longer
_BREAK = "\u200b"  # a zero-width space, at which a long word may be broken
_SIGNS = {"−": "-", "–": "--", "×": "x", "·": "-", "…": "...", "ρ": "rho"}
_COMMANDS = {
    # OT1 fonts have other glyphs at < and >
    ">": "$>$", "<": "$<$", "±": r"$\pm$", "é": r"\'e", "∞": r"$\infty$", "‖": r"$\|$", _BREAK: r"\allowbreak{}",
}  # fmt: skip
_NUMBER = re.compile(r"-{0,2}|-?[\d.,∞]+(e[+-]\d+)?( ± .*)?")


def to_latex(table: pd.DataFrame, caption: str, wrapped: Mapping[str, float] | None = None) -> bytes:
    """Return a booktabs table, a ``longtable`` if it does not fit a page.

    Needs ``\\usepackage{array,booktabs,longtable}``. The caption is a comment at the top, as the float belongs to the
    document. ``wrapped`` maps columns whose texts are broken into lines to their share of the line's width.
    """
    widths = wrapped or {}
    plain = table.map(lambda value: _plain(str(value)))
    kinds = {name: "r" if plain[name].map(lambda text: bool(_NUMBER.fullmatch(text))).all() else "l" for name in plain}
    for name, share in widths.items():
        if name not in plain:
            continue
        kinds[name] = rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}"
        plain[name] = plain[name].map(_breakable)
    plain = plain.rename(columns=_plain)
    styler = plain.style.format(escape="latex").format_index(escape="latex", axis=1).hide(axis="index")
    long = len(table) > LONGEST_TABULAR
    text = styler.to_latex(column_format="@@@", hrules=True, environment="longtable" if long else None)
    text = _commands(text).replace("@@@", "".join(kinds.values()), 1)
    head = "\\begingroup\\scriptsize\\setlength{\\tabcolsep}{3.5pt}\n"
    return f"% {_commands(_plain(caption))}\n{head}{text}\\endgroup\n".encode()


def _plain(text: str) -> str:
    """Reduce a text to one line of ASCII and the signs of :func:`_commands`; unknown signs become ``?``."""
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    return "".join(sign if sign in _COMMANDS else _ascii(sign) for sign in " ".join(text.split()))


def _ascii(sign: str) -> str:
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and plain else "?"


def _breakable(text: str) -> str:
    parts = [
        re.sub(r"(=|.{16})(?=.)", rf"\1{_BREAK}", word) if len(word) > LONGEST_WORD else word for word in text.split()
    ]
    return " ".join(parts)


def _commands(text: str) -> str:
    for sign, command in _COMMANDS.items():
        text = text.replace(sign, command)
    return text
