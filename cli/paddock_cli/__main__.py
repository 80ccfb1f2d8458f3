"""The `paddock` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from paddock_api.fields import parse_duration
from paddock_cli import revisions
from paddock_cli.errors import CommandError
from paddock_cli.machine import default_budget
from paddock_cli.quantities import format_bytes, parse_bytes
from paddock_cli.version import version

T = TypeVar("T")
_PREDICT_PERCENT = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 it failed, 2 it was asked for wrongly."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except CommandError as error:
        print(f"paddock: {error.message}", file=sys.stderr)
        return error.exit_code


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paddock", description="Many llama.cpp models, one request away.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve a directory of Model manifests on this machine"))
    revisions.add(commands)
    _add_usage(commands.add_parser("usage", help="show what Models, tenants and namespaces have used"))
    _add_plan(commands.add_parser("plan", help="say what a directory of Model manifests would take, and what fits"))
    commands.add_parser("version", help="print the version").set_defaults(run=_version)
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    budget = format_bytes(default_budget())
    parser.description = "Serves the Models whose manifests lie in DIR. A Model is loaded by its first request."
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of Model manifests (*.yaml); watched")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_checked(_port), default=8080, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--memory", type=_checked(parse_bytes), default=None, metavar="AMOUNT",
                        help=f"what all loaded models together may take, like 4Gi (default here: {budget})")
    parser.add_argument("--cache", type=Path, default=None, metavar="PATH",
                        help="where fetched files are kept (default: ~/.cache/paddock)")
    parser.add_argument("--hold", type=_checked(_duration), default=300.0, metavar="TIME",
                        help="how long a request waits for its model, like 90s (default: 5m)")
    parser.add_argument("--drain", type=_checked(_duration), default=30.0, metavar="TIME",
                        help="how long running requests may take after Ctrl-C (default: 30s)")
    parser.add_argument("--allow-source-host", action="append", default=[], metavar="HOST[:PORT]",
                        help="a host with a private address that http sources may name; may be repeated")
    parser.add_argument("--predict", action="store_true",
                        help="load models into spare memory (at most 20%% of it) before they are likely to be asked")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from paddock_cli.serve import Options, serve  # imports the whole server: not for `--help`

    return serve(Options(
        directory=options.directory,
        host=options.host,
        port=options.port,
        memory_bytes=options.memory or default_budget(),
        cache=options.cache or default_cache(),
        hold=options.hold,
        drain=options.drain,
        allowed_hosts=frozenset(options.allow_source_host),
        predict_percent=_PREDICT_PERCENT if options.predict else 0,
    ))


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.description = "Shows what was used since the server started: memory over time, engine time, tokens."
    parser.add_argument("--server", default="http://127.0.0.1:8080", metavar="URL",
                        help="the server to ask (default: %(default)s)")
    parser.add_argument("--by", choices=["model", "tenant", "namespace", "entry"], default="model",
                        help="what a line is; entry: a model and a tenant (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is")
    parser.set_defaults(run=_usage)


def _usage(options: argparse.Namespace) -> int:
    from paddock_cli.usage import show

    return show(options.server, by=options.by, as_json=options.json)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Says what the Models in DIR take in memory, which of them fit together, and how a recorded "
                          "usage would have fared. Loads nothing and asks nobody.")
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of Model manifests (*.yaml)")
    parser.add_argument("--memory", type=_checked(parse_bytes), default=None, metavar="AMOUNT",
                        help=f"what all loaded models may take together (default: {format_bytes(default_budget())})")
    parser.add_argument("--usage", type=Path, default=None, metavar="FILE",
                        help="recorded requests to replay, as JSON lines: see docs/plan.md")
    parser.add_argument("--cache", type=Path, default=None, metavar="PATH",
                        help="where fetched files are kept (default: ~/.cache/paddock)")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="(default: %(default)s)")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> int:
    from paddock_cli.plan import Options, plan

    return plan(Options(directory=options.directory, memory_bytes=options.memory or default_budget(),
                        cache=options.cache or default_cache(), usage=options.usage,
                        as_json=options.output == "json"))


def _version(_: argparse.Namespace) -> int:
    print(f"paddock {version()}")
    return 0


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "paddock"


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a duration: write it like 30s, 5m or 1h30m") from None


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """argparse shows the message of this error only."""

    def checked(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


if __name__ == "__main__":
    sys.exit(main())
