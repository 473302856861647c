from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.study.yaml_documents import MAX_BYTES, YamlDocument, read_text, read_yaml


def read(text: str) -> YamlDocument:
    document = read_yaml(text, "f.yaml")
    document.diagnostics.check()
    return document


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5E4", 5e4),
        ("1.0e-6", 1e-6),
        (".5", 0.5),
        ("-3", -3),
        ("10_000", 10_000),
        ("'1'", "1"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        (".inf", ".inf"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    scalar = read(f"a: {text}").value["a"]
    assert scalar == value
    assert type(scalar) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", "yes"), ("1e-3", 0.001), ("0o17", "0o17"), ("017", 17), ("1_000", 1000), ("0x1F", "0x1F")],
)
def test_scalars_that_versions_of_yaml_read_differently(text: str, value: object) -> None:
    """YAML 1.1 reads True, "1e-3", "0o17", 15, 1000 and 31; YAML 1.2 reads "yes", 0.001, 15, 17, "1_000" and 31."""
    scalar = read(f"a: {text}").value["a"]
    assert (scalar, type(scalar)) == (value, type(value))


def test_every_value_has_its_line() -> None:
    document = read("a: 1\nb:\n  c:\n    - x\n    - y\n")
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "c", 1)] == 5


def test_a_missing_path_has_the_line_of_its_parent() -> None:
    assert read("a: 1\nb:\n  c: 1\n").line(("b", "d")) == 2


def test_a_key_given_twice_is_reported_with_both_lines() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n") == "f.yaml:3: a: given twice, first on line 1"


def test_an_alias_is_its_anchors_value() -> None:
    assert read("a: &x {b: [1, 2]}\nc: *x").value["c"] == {"b": [1, 2]}


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "counting what aliases expand to" in refusal("\n".join(lines))


def test_many_aliases_of_one_large_value_are_refused() -> None:
    text = f"a: &a [{', '.join('x' * 1000)}]\nb: [{', '.join(['*a'] * 1000)}]"
    assert "f.yaml:2: more than" in refusal(text)


def test_an_alias_of_itself_is_refused() -> None:
    assert "a[0]: *x has no complete &x before it" in refusal("a: &x [*x]")


@pytest.mark.parametrize("deep", ["[" * 5000, "{a: " * 5000, "- " * 5000, "[" * MAX_BYTES])
def test_deep_nesting_is_refused(deep: str) -> None:
    assert "nested more than" in refusal(deep)


def test_tags_are_refused() -> None:
    assert "f.yaml:2: b: tags such as" in refusal("a: 1\nb: !!python/object/apply:os.system [ls]")


def test_merge_keys_are_refused() -> None:
    assert "merge keys are not supported" in refusal("a: &a {b: 1}\nc:\n  <<: *a")


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "1" * 41])
def test_numbers_too_long_or_too_large_are_refused(number: str) -> None:
    assert "too long or too large a number" in refusal(f"a: {number}")


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert "the file is empty" in refusal(text)


def test_a_second_document_is_refused() -> None:
    assert "f.yaml:2: a second document" in refusal("a: 1\n---\nb: 1\n")


def test_a_key_that_is_not_a_word_is_refused() -> None:
    assert "f.yaml:1: the file: a key must be a word" in refusal("? [a, b]\n: 1\n")


def test_broken_yaml_is_reported_with_its_line() -> None:
    assert refusal("a: 1\nb: [1, 2\nc: 3\n").startswith("f.yaml:3: not YAML")


@pytest.mark.parametrize("text", ["a: \0", "a: \ud800", "a: \x07"])
def test_characters_outside_yaml_are_refused(text: str) -> None:
    assert "not YAML" in refusal(text)


def test_a_file_that_is_not_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: byte 0xe9 is not UTF-8"):
        read_text(file)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(read_text(file)).value == {"a": 1}


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        read_text(file)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        read_text(tmp_path)
