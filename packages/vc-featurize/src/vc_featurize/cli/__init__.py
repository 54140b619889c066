"""Command line of vc-featurize."""

from vc_featurize.cli.main import main

__all__ = ["main"]
