"""The container: built, verified, and entered by jobs."""

from nllgen.container.exec import Bind, Container, container_python, exec_command
from nllgen.container.verify import verify_container

__all__ = ["Bind", "Container", "container_python", "exec_command", "verify_container"]
