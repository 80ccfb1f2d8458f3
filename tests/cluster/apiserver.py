"""A real API server alone (etcd and kube-apiserver, RBAC, no nodes) for tests of the operator and of the CRDs.

It listens on a loopback address of its own, needs no rights, and leaves nothing behind. In a conftest:

    from tests.cluster.apiserver import ApiServer

    @pytest.fixture(scope="session")
    def api_server() -> Iterator[ApiServer]:
        with ApiServer() as server:
            yield server

`server.kubeconfig` is an administrator's; `server.kubectl("apply", "-f", "-", input=text)` runs kubectl as one.
`stop()` and `start()` make an outage: address, certificates and objects stay. `freeze()` and `thaw()` make it hang with
its connections open. `ApiServer(controllers=("garbage-collector-controller",))` runs those of kube-controller-manager
too: without, no owner's deletion deletes what it owns, and a deleted namespace stays `Terminating`.
"""

from __future__ import annotations

import http.client
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.cluster import binaries
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pki import Authority
from tests.cluster.problems import ClusterError

_STARTS_WITHIN = 180.0
_STOPS_WITHIN = 10.0
# A test run that is killed takes its processes along.
_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class ApiServer:
    """Use as a context manager. Raises ClusterError when it does not start."""

    def __init__(self, *, controllers: Sequence[str] = (), flags: Sequence[str] = ()) -> None:
        """`controllers`: names as kube-controller-manager knows them. `flags`: further ones of kube-apiserver."""
        names = (*binaries.API_SERVER, *(("kube-controller-manager",) if controllers else ()))
        self._programs = binaries.ensure(names)
        self._controllers, self._flags = tuple(controllers), tuple(flags)
        self.folder = Path(tempfile.mkdtemp(prefix="paddock-api-"))
        # A loopback address of its own: the ports are the usual ones, never taken, and the same after a restart.
        address = f"127.{random.randint(64, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        self._plane = ControlPlane(self.folder, address, address, Authority(self.folder / "pki"))
        self.url = self._plane.url
        self.kubeconfig = self._plane.admin()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> ApiServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it is ready, roles and priorities included."""
        if "etcd" not in self._processes:
            self._run("etcd", self._plane.etcd())
        alone = ["--authorization-mode=RBAC", "--endpoint-reconciler-type=none"]  # its own loopback is no endpoint
        self._run("kube-apiserver", self._plane.api_server(*alone, *self._flags))
        self._await_ready()
        if self._controllers and "kube-controller-manager" not in self._processes:
            chosen = f"--controllers={','.join(self._controllers)}"
            self._run("kube-controller-manager", self._plane.controller_manager(chosen))

    def stop(self) -> None:
        """The API server goes away: connections are refused until `start()`. What it stored stays."""
        self._end("kube-apiserver")

    def freeze(self) -> None:
        """The API server hangs: connections stay open, and new ones are taken, but nothing is answered."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            self._end(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """What it printed. Raises ClusterError with its complaint; with `check=False` both are returned as one."""
        command = [str(self._programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=input or "", capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def user(self, name: str, *, common_name: str, group: str = "") -> Path:
        """The kubeconfig of somebody with only the rights that RBAC gives; `common_name` is the user's name."""
        return self._plane.user(name, common_name=common_name, group=group)

    def log(self, name: str = "kube-apiserver") -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _run(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*_WITH_US, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # a frozen one hears no SIGTERM
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while not self.is_ready():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready within {_STARTS_WITHIN:.0f} s:\n{self.log()[-3000:]}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        trust = ssl.create_default_context(cafile=str(self._plane.authority.pair.certificate))
        connection = http.client.HTTPSConnection(self._plane.address, self._plane.port, timeout=5, context=trust)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def main() -> int:
    """`python -m tests.cluster.apiserver`: one to try things on, until standard input ends or Ctrl-C."""
    try:
        with ApiServer() as server:
            print(f"export KUBECONFIG={server.kubeconfig}", flush=True)
            sys.stdin.read()
    except KeyboardInterrupt:
        pass
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
