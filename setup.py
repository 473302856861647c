"""Packages and extras. Plain `pip install .` is what a login node needs; it brings no torch."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# What lies beside the packages and is read by them. It ships as nllgen/share, where study/builtin.py looks for it.
SHARED = ("jobs", "slurm/profiles", "containers")


class BuildWithShared(build_py):
    """Ship the studies, profiles and image recipe inside the wheel."""

    def run(self):
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        share = Path(self.build_lib) / "nllgen" / "share"
        shutil.rmtree(share, ignore_errors=True)  # of an earlier build: a study that was removed is not shipped
        for folder in SHARED:
            if Path(folder).is_dir():
                shutil.copytree(folder, share / Path(folder).name)

    def get_source_files(self):
        """What an sdist has to hold, for wheels are built from it."""
        shared = [path for folder in SHARED for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return [*super().get_source_files(), *map(str, shared)]


setup(
    name="nllgen",
    version="0.1.0",
    description="What does maximum likelihood do to a generative model, and what does adversarial training do to it?",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["nllgen", "nllgen.*"]), *find_packages("analysis")],
    package_dir={"nllgen": "nllgen", "nllgen_analysis": "analysis/nllgen_analysis"},
    package_data={
        "nllgen": ["py.typed"],
        "nllgen.study": ["claims.toml", "truths/*/*"],  # the registered rules of the claims; pretrained truths
        "nllgen.metrics": ["*.pt", "*.json"],  # LeNet's weights, and how they were made
        "nllgen_analysis": ["*.j2", "*.html", "*.css", "*.js"],  # report.html
    },
    cmdclass={"build_py": BuildWithShared},
    entry_points={"console_scripts": ["nllgen=nllgen.cli:main"]},
    install_requires=[
        "click>=8.1",  # the command line
        "cloup>=3.0",  # its help: commands in sections, and arguments with their meaning
        "pydantic>=2.7",  # frozen, validated configuration
        "PyYAML>=6.0",  # studies
        "h5py>=3.10",  # results and datasets
        "numpy>=1.26",  # arrays between metrics and files
        "submitit>=1.5.3",  # jobs: local processes
        "rich>=13",  # tables and progress on a terminal
    ],
    extras_require={
        "train": [
            "torch>=2.6",  # flows and training
            "torchvision>=0.21",  # MNIST's mirrors; what pytorch-fid's network is built from
            "pytorch-fid>=0.3.0",  # the published Inception network and its preprocessing
        ],
        "analysis": [
            "pandas>=2.2",  # long-form frames
            "seaborn>=0.13",  # figures
            "matplotlib>=3.8",  # the canvas under seaborn
            "scipy>=1.15",  # intervals, bootstrap and rank correlations
            "jinja2>=3.1",  # report.html, with escaping
        ],
        "bench": [
            "deeprob-kit>=1.1",  # the fastest peer: Real NVP with the same couplings
            "torchflows>=1.2",  # another Real NVP
            "normflows>=1.7",  # a Glow
            "torchmetrics>=1.4",  # another Fréchet distance
            "torch-fidelity>=0.3",  # and another
        ],
        "test": [
            "pytest>=8",  # the tests
            "pytest-timeout>=2.3",  # a hanging test is a failing test
            "pytest-xdist>=3.6",  # a process a core
            "filelock>=3.12",  # processes of tests share studies that one of them has made
            "coverage>=7.17",  # make coverage: lines and branches, by test, in all processes that tests start
            "selenium>=4.20",  # report.html in a real browser
            "zuko>=1.3",  # a flow that is not ours, trained by import path
            "hypothesis>=6.100",  # properties over random shapes and broken files
            "ruff>=0.6",  # lint and format
            "mypy>=1.11",  # types
            "build>=1.2",  # the sdist and wheel that the packaging tests install
        ],
    },
)
