"""The part of the build that pyproject.toml cannot express: directories outside the packages that ship in the wheel."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Run as a file: importing nllgen.study would need nllgen's dependencies, which a build does not have.
SHIPPED_DIRECTORIES = runpy.run_path("nllgen/study/builtin.py")["SHIPPED_DIRECTORIES"]


class BuildWithShared(build_py):
    """The ordinary build, and a copy of the shipped directories as nllgen/share."""

    def run(self):
        """Build the packages, then copy the directories."""
        super().run()
        if self.editable_mode:
            return
        share = Path(self.build_lib) / "nllgen" / "share"
        shutil.rmtree(share, ignore_errors=True)  # files of an earlier build that have been removed since
        for name, directory in SHIPPED_DIRECTORIES.items():
            if Path(directory).is_dir():
                shutil.copytree(directory, share / name)

    def get_source_files(self):
        """List the files of an sdist, which has to hold the directories, since wheels are built from it."""
        shipped = [path for name in SHIPPED_DIRECTORIES.values() for path in sorted(Path(name).rglob("*"))]
        return [*super().get_source_files(), *(str(path) for path in shipped if path.is_file())]


setup(cmdclass={"build_py": BuildWithShared})
