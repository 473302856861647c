"""Tasks by the words that a user typed."""

from __future__ import annotations

from collections.abc import Sequence

from nllgen.errors import ConfigError
from nllgen.launch.tasks import Task, tasks_of
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.diagnostics import near


def tasks_named(study_dir: StudyDir, study: Study, words: Sequence[str]) -> list[Task]:
    """Return tasks by id, by a unique beginning of an id, or by ``truth`` or ``dataset``.

    Raises:
        ConfigError: no task fits a word, or more than one does; the message names near matches.
    """
    tasks = {task.name: task for task in tasks_of(study, study_dir)}
    selected = {}
    for word in words:
        names = [word] if word in tasks else [name for name in tasks if word and name.startswith(word)]
        if len(names) > 1:
            raise ConfigError(f"{len(names)} ids begin with {word!r}: {', '.join(names[:5])}", "give more of the id")
        if not names:
            hint = f"`nllgen status {study_dir.path}` lists the ids; a unique beginning is enough"
            raise ConfigError(f"study {study.name} has no cell {word!r}{near(word, tasks)}", hint)
        selected[names[0]] = tasks[names[0]]
    return list(selected.values())
