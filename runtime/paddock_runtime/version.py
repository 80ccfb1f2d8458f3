"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    try:
        return metadata.version("paddock")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+unknown"
