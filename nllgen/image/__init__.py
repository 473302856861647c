"""The container image: built, verified, and entered by jobs."""

from nllgen.image.opening import open_image
from nllgen.image.running import Bind, Image, exec_command, image_python

__all__ = ["Bind", "Image", "exec_command", "image_python", "open_image"]
