"""The configuration of what runs on the node, as values: containerd, kubelet, kube-proxy, CoreDNS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster import cgroups
from tests.cluster.network import NODE, PODS

NAME = "node1"
POD_NETWORK = "paddock-pods"
PAUSE = "localhost/pause:1"
DNS_READY = "127.0.0.1:8181"


def containerd(folder: Path) -> str:
    """TOML. These machines withhold CAP_SYS_RESOURCE, so no process may be given a lower oom_score_adj."""
    return f"""version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{socket(folder)}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def socket(folder: Path) -> Path:
    return folder / "containerd.sock"


def cni(folder: Path) -> str:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": f"{folder}/ipam",
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": POD_NETWORK, "plugins": [bridge, ports]})


def kubelet(folder: Path, *, authority: Path, certificate: Path, key: Path) -> str:
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.ROOT}",
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{socket(folder)}",
        "podLogsDir": f"{folder}/pod-logs",
        "volumePluginDir": f"{folder}/volume-plugins",
        "clusterDNS": [NODE],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{folder}/resolv.conf",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
    }
    return json.dumps(config)


def proxy(kubeconfig: Path) -> str:
    config: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "nftables",
        "clusterCIDR": PODS,
        "hostnameOverride": NAME,
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0},
    }
    return json.dumps(config)


def coredns(kubeconfig: Path) -> str:
    """It knows the cluster's names only: nothing is forwarded, since the network is closed."""
    return f""". {{
  bind {NODE}
  ready {DNS_READY}
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} paddock
    ttl 5
  }}
}}
"""
