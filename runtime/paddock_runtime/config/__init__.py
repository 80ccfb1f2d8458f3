"""Where a runtime's configuration comes from: a directory of manifests (`paddock serve DIR`), or a pool's shards."""

from paddock_runtime.config.directory import DirectorySource
from paddock_runtime.config.problem import ConfigProblem
from paddock_runtime.config.shards import ShardSource
from paddock_runtime.config.snapshot import ConfigSource, Snapshot

__all__ = ["ConfigProblem", "ConfigSource", "DirectorySource", "ShardSource", "Snapshot"]
