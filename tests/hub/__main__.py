"""`python -m tests.hub ROOT`: a Hugging Face Hub for tests, as a process. Layout of ROOT: `tests.hub.repos.load`.

Needs the standard library and uvicorn. Prints one JSON line when it serves; SIGTERM ends it."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from tests.hub.app import Double
from tests.hub.repos import load
from tests.hub.running import listen, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=(
        "Serve a directory of repositories as the Hugging Face Hub does."))
    parser.add_argument("root", type=Path, help="OWNER/NAME/FILES, other branches as OWNER/NAME@BRANCH/FILES")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of the hub (default: a free one)")
    parser.add_argument("--cdn-port", type=int, default=0, help="port of the file store (default: a free one)")
    parser.add_argument("--cdn-url", help="origin that redirects to the file store name (default: the request's host "
                                          "and the file store's port)")
    given = parser.parse_args()
    repos, tokens = load(given.root)
    double = Double(repos=repos, tokens=tokens, cdn=given.cdn_url, root=given.root)
    with listen(given.host, given.port) as hub, listen(given.host, given.cdn_port) as store:
        double.cdn_port = store.getsockname()[1]
        ready = {"port": hub.getsockname()[1], "cdn_port": double.cdn_port, "repos": sorted(repos)}
        print(json.dumps(ready), flush=True)
        asyncio.run(serve(double, hub, store))


if __name__ == "__main__":
    main()
