"""The configuration of workers, from a container and a cluster's profile."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from nllgen.container import verify_container
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import Profile
from nllgen.launch.worker_process import WorkerConfig
from nllgen.study.run_options import RunOptions


def configure_workers(
    assets: Path,
    device: str = "auto",
    *,
    container: Path | None = None,
    strict_container: bool = False,
    profile: Profile | None = None,
) -> WorkerConfig:
    """Return how workers are started.

    Args:
        assets: directory of fetched assets.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        container: SIF to run in; the profile's where None.
        strict_container: do not count results that another container made.
        profile: of the cluster; None on this machine.

    Raises:
        ConfigError: ``strict_container`` without a container.
        ContainerError: the container cannot be used.
    """
    config = WorkerConfig(RunOptions(assets, device, strict_container=strict_container))
    if profile is not None:
        config = with_profile(config, profile, use_container=container is None)
    if container is not None:
        config = _with_container(config, container)
    if strict_container and config.container is None:
        raise ConfigError("--strict-container compares with a container, and none is named", "add --container SIF")
    return config


def with_profile(config: WorkerConfig, profile: Profile, *, use_container: bool = True) -> WorkerConfig:
    """Return a configuration with a profile's binds, variables and scratch directory, and its container if it has one.

    Raises:
        ContainerError: the container cannot be used.
    """
    variables = tuple(profile.environment.items())
    config = replace(config, binds=profile.binds, environment=variables, scratch=profile.scratch)
    return _with_container(config, Path(profile.container)) if profile.container and use_container else config


def _with_container(config: WorkerConfig, path: Path) -> WorkerConfig:
    container = verify_container(path)
    options = replace(config.options, container_sha256=container.sha256)
    return replace(config, container=container.path.absolute(), options=options)


def require_torch(purpose: str = "training") -> None:
    """Check that this Python has torch.

    Raises:
        MachineError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MachineError(f"torch is not installed, and {purpose} needs it", "pip install 'nllgen[train]'")
