"""The arguments of `paddock history`, `diff` and `rollback`, and what they lead to."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from paddock_api.identity import ModelId
from paddock_cli import history
from paddock_cli.errors import USAGE, CommandError

DEFAULT_SERVER = "http://127.0.0.1:8080"
_NAMESPACE = "default"
_PLACE = """Asks a server on this machine, unless one of --namespace, --context and --kubeconfig is given: then a
cluster."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    shown = _add(commands, "history", "show a Model's revisions and what was done with it", _history)
    shown.add_argument("--operations", type=int, default=20, metavar="COUNT",
                       help="how many of the last operations to show (default: %(default)s)")
    compared = _add(commands, "diff", "show how two revisions of a Model differ", _diff)
    compared.add_argument("first", nargs="?", type=int, metavar="N", help="default: the one before")
    compared.add_argument("second", nargs="?", type=int, metavar="M", help="default: the one that is wanted now")
    back = _add(commands, "rollback", "make an older revision's spec a Model's spec again", _rollback)
    back.add_argument("number", nargs="?", type=int, metavar="N", help="default: the newest other one that was good")


def _add(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str,
         run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {_PLACE}")
    parser.add_argument("model", metavar="MODEL", help="its name, or namespace/name")
    parser.add_argument("--server", metavar="URL",
                        help=f"a `paddock serve` on this machine (default: {DEFAULT_SERVER})")
    parser.add_argument("--namespace", "-n", help=f"in a cluster: the Model's namespace (default: {_NAMESPACE})")
    parser.add_argument("--context", help="in a cluster: which context of the kubeconfig")
    parser.add_argument("--kubeconfig", metavar="PATH", help="in a cluster: default $KUBECONFIG, or ~/.kube/config")
    parser.set_defaults(run=run)
    return parser


def _history(options: argparse.Namespace) -> int:
    print(history.show_history(_place(options), _model(options), operations=max(0, options.operations)))
    return 0


def _diff(options: argparse.Namespace) -> int:
    print(history.show_diff(_place(options), _model(options), options.first, options.second))
    return 0


def _rollback(options: argparse.Namespace) -> int:
    print(history.roll_back(_place(options), _model(options), options.number))
    return 0


def _model(options: argparse.Namespace) -> ModelId:
    namespace, slash, name = options.model.rpartition("/")
    if slash and options.namespace not in (None, namespace):
        raise CommandError(f"{options.model} is in another namespace than --namespace {options.namespace}: leave one "
                           "out", exit_code=USAGE)
    try:
        return ModelId.parse(f"{namespace or options.namespace or _NAMESPACE}/{name}")
    except ValueError:
        raise CommandError(f"{options.model!r} is no Model: give its name, or namespace/name", exit_code=USAGE
                           ) from None


def _place(options: argparse.Namespace) -> history.Place:
    of_cluster = [f"--{name}" for name in ("namespace", "context", "kubeconfig") if getattr(options, name) is not None]
    if options.server is not None and of_cluster:
        raise CommandError(f"--server names a server on this machine and {of_cluster[0]} a cluster: leave one out",
                           exit_code=USAGE)
    if not of_cluster:
        from paddock_cli.server import Server

        return Server(options.server or DEFAULT_SERVER)
    try:
        from paddock_cli.cluster import Cluster
    except ModuleNotFoundError as error:
        raise CommandError(f"to speak with a cluster {error.name} is needed: install paddock[cli,operator]") from None
    return Cluster(kubeconfig=options.kubeconfig, context=options.context)
