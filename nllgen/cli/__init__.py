"""The command line. A command parses, calls a function of another package and prints; it imports that function late."""

from nllgen.cli.app import cli, main

__all__ = ["cli", "main"]
