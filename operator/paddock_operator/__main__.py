"""`python -m paddock_operator`: settings come from the environment or, under the same names, as flags."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence

from paddock_api.errors import PaddockError
from paddock_operator import logs
from paddock_operator.admin import serving
from paddock_operator.app import Operator
from paddock_operator.cluster.account import NoCluster
from paddock_operator.cluster.client import connect
from paddock_operator.metrics import Metrics
from paddock_operator.resolve import Resolver
from paddock_operator.settings import SettingError, Settings, flag, read, table

_log = logging.getLogger("paddock_operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 after SIGTERM or SIGINT, 2 for settings that can't be used, 1 when something broke."""
    try:
        settings = read(os.environ, _flags(arguments))
    except SettingError as error:
        print(f"paddock-operator: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except (NoCluster, PaddockError, OSError) as error:
        _log.error("%s", error)
        return 2
    return 0


async def _serve(settings: Settings) -> None:
    """Until a signal. Raises NoCluster, OSError for a port that is taken, PaddockError for a hub that is no URL."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    take_signals()
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        resolver = await stack.enter_async_context(contextlib.aclosing(_resolver(settings)))
        api = await connect(settings.kubeconfig)
        stack.push_async_callback(api.close)
        operator = Operator(settings, api, resolver, metrics)
        port = await stack.enter_async_context(
            serving(settings.listen, metrics, alive=operator.alive, ready=operator.ready))
        _log.info("the operator runs; probes and metrics are on port %d", port)
        await _until(stop, operator.run(take_signals))
    _log.info("the operator ends")


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Runs until `stop`; what breaks before that is raised."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
    working.cancel()
    await asyncio.wait({working})


def _resolver(settings: Settings) -> Resolver:
    hosts = (settings.allowed_hosts or "").split(",")
    if settings.hub_endpoint is None:
        return Resolver(allow_hosts=hosts)
    return Resolver(endpoint=settings.hub_endpoint, allow_hosts=hosts)


def _flags(arguments: Sequence[str] | None) -> dict[str, str]:
    """What was given on the command line, by variable."""
    parser = argparse.ArgumentParser(prog="paddock-operator", description="Reconciles Models and RuntimePools.")
    for variable, default, meaning in table():
        if variable.startswith("PADDOCK_"):
            shown = f" Default: {default}." if default else ""
            parser.add_argument(flag(variable), dest=variable, metavar="VALUE",
                                help=f"{meaning}{shown} ({variable})".replace("%", "%%"))
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
