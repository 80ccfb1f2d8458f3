"""What of a cluster comes from Debian: the container runtime, the network's tools, the builder of images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.cluster.problems import ClusterError

# Debian package → a file that it brings.
NODE = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "/usr/sbin/iptables",
    "nftables": "/usr/sbin/nft",
    "iproute2": "/bin/ip",
    "conntrack": "/usr/sbin/conntrack",
    "procps": "/sbin/sysctl",
    "socat": "/usr/bin/socat",
    "openssl": "/usr/bin/openssl",
}
IMAGES = {"buildah": "/usr/bin/buildah", "mmdebstrap": "/usr/bin/mmdebstrap"}


def ensure(wanted: dict[str, str]) -> None:
    """Install what is missing. Raises ClusterError when that is not possible here."""
    missing = [package for package, file in wanted.items() if not os.path.exists(file)]
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise ClusterError(
            f"a cluster on this machine needs {', '.join(missing)}: run as root on Debian or Ubuntu, "
            "or set KUBECONFIG to a cluster that is there (docs/development.md)"
        )
    print(f"cluster: installing {' '.join(missing)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(
                ["apt-get", "-qq", *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, check=True, timeout=900,
            )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"installing {' '.join(missing)} failed:\n{error.stderr[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"installing {' '.join(missing)}: {error}") from error
