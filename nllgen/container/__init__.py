"""Apptainer's container in which jobs run: build, verification, and start of programs in it."""

from nllgen.container.exec import Bind, Container, container_python, exec_command
from nllgen.container.verify import verify_container

__all__ = ["Bind", "Container", "container_python", "exec_command", "verify_container"]
