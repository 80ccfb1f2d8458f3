"""`python -m paddock_gateway`: settings from the environment, see docs/gateway.md."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop

from paddock_gateway import logs
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.front.listener import bind
from paddock_gateway.run import StopSignal, run
from paddock_gateway.settings import SettingError, Settings, read_settings


def main() -> int:
    try:
        settings = read_settings(os.environ)
        tokens = _tokens(settings)
        listeners = [bind(settings.listen), bind(settings.admin_listen)]
    except (SettingError, OSError, ValueError) as error:
        print(f"paddock_gateway: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)

    async def serve() -> None:
        stop = StopSignal()
        stop.listen()
        await run(settings, tokens, listeners, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


def _tokens(settings: Settings) -> Tokens:
    if settings.root_token_file is None:
        raise SettingError("PADDOCK_ROOT_TOKEN_FILE is not set: give the file with the root token")
    return Tokens(settings.root_token_file)


if __name__ == "__main__":
    sys.exit(main())
