"""The command line: parse, call one function of another package, print. No torch before a command needs it."""

from nllgen.cli.app import cli, main

__all__ = ["cli", "main"]
