"""A throw-away certificate authority for one cluster, and kubeconfig files. Needs the openssl command."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cluster.problems import ClusterError

_DAYS = "3650"
_EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Pair(NamedTuple):
    certificate: Path
    key: Path


class Authority:
    """`folder` holds ca.crt, ca.key and each certificate that was asked for; made on first use, then kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.pair = Pair(folder / "ca.crt", folder / "ca.key")
        if not self.pair.certificate.exists():
            made: list[str | Path] = [
                "-keyout",
                self.pair.key,
                "-out",
                self.pair.certificate,
                "-subj",
                "/CN=paddock-test-ca",
            ]
            _openssl("req", "-x509", *_EC_KEY, "-days", _DAYS, *made)

    def issue(self, name: str, *, common_name: str, group: str = "", serves: Iterable[str] = ()) -> Pair:
        """A certificate for both ends of TLS. `serves`: entries such as `IP:127.0.0.1` and `DNS:localhost`."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.certificate.exists():
            return pair
        subject = (f"/O={group}" if group else "") + f"/CN={common_name}"
        names = ",".join(serves) or f"DNS:{name}"
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            request, extensions = Path(temporary) / "request", Path(temporary) / "extensions"
            extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
            _openssl("req", *_EC_KEY, "-keyout", pair.key, "-out", request, "-subj", subject)
            authority: list[str | Path] = ["-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial"]
            made: list[str | Path] = ["-days", _DAYS, "-extfile", extensions, "-out", pair.certificate]
            _openssl("x509", "-req", "-in", request, *authority, *made)
        return pair

    def signing_key(self) -> Path:
        """What service account tokens are signed with."""
        key = self.folder / "service-accounts.key"
        if not key.exists():
            _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
        return key

    def kubeconfig(self, target: Path, *, server: str, user: Pair) -> Path:
        """Written readable by its owner only. `server`: a URL."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "paddock",
            "contexts": [{"name": "paddock", "context": {"cluster": "paddock", "user": "paddock"}}],
            "clusters": [
                {"name": "paddock", "cluster": {"server": server, "certificate-authority": str(self.pair.certificate)}}
            ],
            "users": [
                {
                    "name": "paddock",
                    "user": {"client-certificate": str(user.certificate), "client-key": str(user.key)},
                }
            ],
        }
        target.touch(mode=0o600)
        target.write_text(json.dumps(config, indent=1))  # JSON is YAML
        return target


def _openssl(*arguments: str | Path) -> None:
    command: Sequence[str | Path] = ["openssl", *arguments]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=60)
    except FileNotFoundError as error:
        raise ClusterError("the openssl command is missing (Debian: apt-get install openssl)") from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"openssl {arguments[0]} failed: {error.stderr.strip()[-500:]}") from error
