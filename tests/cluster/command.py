"""The command line: `tests/cluster/cluster build|up|down|…`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.cluster import binaries, containers, images, lifecycle
from tests.cluster.problems import ClusterError


def main() -> int:
    arguments = _parser().parse_args()
    try:
        arguments.act(arguments)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description="A one-node Kubernetes of plain processes, for tests.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    build = verbs.add_parser("build", help="compile what is missing (with cold caches about 16 minutes on 2 cores)")
    build.add_argument("names", nargs="*", metavar="PROGRAM", help=f"only these of {', '.join(binaries.PROGRAMS)}")
    build.set_defaults(act=_build)

    up = verbs.add_parser("up", help="start it, unless it runs; prints the kubeconfig's path (15 s)")
    up.set_defaults(act=lambda _: print(lifecycle.up()))

    down = verbs.add_parser("down", help="stop everything and remove every trace")
    down.set_defaults(act=lambda _: lifecycle.down())

    load = verbs.add_parser("load", help="import image archives (OCI or Docker)")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    load.set_defaults(act=_load)

    packed = verbs.add_parser("images", help="build Paddock's images as they are published; prints their archives")
    packed.add_argument("targets", nargs="*", metavar="TARGET", help=f"only these of {', '.join(images.TARGETS)}")
    packed.set_defaults(act=_images)

    for name, act in _PARTS.items():
        part = verbs.add_parser(name, help=f"{name} a part of the cluster, such as kube-apiserver")
        part.add_argument("part")
        part.set_defaults(act=lambda arguments, act=act: act(arguments.part))
    return parser


def _build(arguments: argparse.Namespace) -> None:
    unknown = [name for name in arguments.names if name not in binaries.PROGRAMS]
    if unknown:
        raise ClusterError(f"unknown program {unknown[0]}: one of {', '.join(binaries.PROGRAMS)}")
    print(binaries.ensure(arguments.names or binaries.PROGRAMS))


def _images(arguments: argparse.Namespace) -> None:
    unknown = [target for target in arguments.targets if target not in images.TARGETS]
    if unknown:
        raise ClusterError(f"unknown image {unknown[0]}: one of {', '.join(images.TARGETS)}")
    for target in arguments.targets or images.TARGETS:
        print(images.archive(images.build(images.paddock(target))))


def _load(arguments: argparse.Namespace) -> None:
    for archive in arguments.archives:
        containers.load(lifecycle.FOLDER, archive)


_PARTS = {
    "stop": lambda name: lifecycle.daemons.stop(name),
    "restart": lambda name: lifecycle.restart(name),
    "freeze": lambda name: lifecycle.daemons.signal(name, signal.SIGSTOP),
    "thaw": lambda name: lifecycle.daemons.signal(name, signal.SIGCONT),
}
