"""Numbers in captions, and the cells behind them."""

from __future__ import annotations

from nllgen_analysis.text import cite, plain, spans, with_notes


def test_spans_splits_a_caption_into_texts_and_cells() -> None:
    assert spans(f"KL {cite('3 ± 1', ['a', 'b', 'a'])}.") == [("KL ", ()), ("3 ± 1", ("a", "b")), (".", ())]


def test_a_text_without_cells_gets_no_mark() -> None:
    assert cite("3", []) == "3"


def test_plain_removes_the_marks() -> None:
    assert plain(f"{cite('3', ['a'])} and {cite('4', ['b'])}") == "3 and 4"


def test_notes_number_the_cells_and_name_equal_ones_once() -> None:
    text = with_notes(f"{cite('3', ['a', 'b'])}, {cite('4', ['c'])}, {cite('5', ['a', 'b'])}")
    assert text == "3 [1], 4 [2], 5 [1]\n\nCells behind the numbers:\n[1] a b\n[2] c\n"


def test_marks_in_a_name_cannot_break_a_caption() -> None:
    assert spans(cite("⟦x|y⟧", ["a"])) == [("[x/y]", ("a",))]
