"""Where a runtime's configuration comes from. In this version: a directory of manifests (`paddock serve DIR`)."""

from paddock_runtime.config.directory import DirectorySource, Snapshot
from paddock_runtime.config.problem import ConfigProblem

__all__ = ["ConfigProblem", "DirectorySource", "Snapshot"]
