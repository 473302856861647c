"""Text of a study to begin with: a built-in one under another name, with its comments and the schema for editors."""

from __future__ import annotations

import json
import re
import shlex

from nllgen.errors import ConfigError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.config import Study
from nllgen.study.diagnostics import not_allowed
from nllgen.study.json_schema import SCHEMA_PATH
from nllgen.study.validation import validate
from nllgen.study.yaml_documents import read_text, read_yaml

_TUNING_FILE = r"(?m)^(tuning: *\{file: *)([\w./-]+)"  # which lies beside the built-in study


def template_text(origin: str, name: str, file_name: str) -> str:
    """Return the text of a built-in study under another name.

    Args:
        origin: name of the built-in study.
        name: of the new one.
        file_name: where the text will be, for the commands in its comments.

    Raises:
        ConfigError: there is no such built-in study, or the name is not one of a study.
    """
    origin = origin.removesuffix(".yaml")
    path = builtin_path("jobs", origin)
    if path is None:
        raise ConfigError(f"--from: {not_allowed(origin, builtin_names('jobs'))}")
    if faults := [fault.text for fault in validate(Study, {"name": name}).faults if fault.path == ("name",)]:
        raise ConfigError(f"NAME: {faults[0]}", "letters, digits, - and _, for example: nllgen init first")
    written = name if read_yaml(name, file_name).value == name else f'"{name}"'  # 2024 and null are no texts in YAML
    text = re.sub(rf"^name: *{re.escape(origin)}\b", f"name: {written}", read_text(path), count=1, flags=re.MULTILINE)
    command = rf"(nllgen \w+ ){re.escape(origin)}(?![\w-])"
    text = re.sub(command, lambda match: match[1] + shlex.quote(file_name), text)
    text = re.sub(_TUNING_FILE, lambda match: f"{match[1]}{json.dumps(str(path.parent / match[2]))}", text)
    return f"# yaml-language-server: $schema={SCHEMA_PATH.as_uri()}\n{text}"
