"""Asks GATEWAY for /v1/models. Without API_KEY, where one is needed, a refusal is right. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE = float(os.environ.get("PATIENCE", "60"))


def ask(url: str, key: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def story(status: int, body: bytes) -> str:
    if status != 200:
        return "a key is needed, as it should be"
    names = [model["id"] for model in json.loads(body)["data"]]
    return ", ".join(names) or "no models yet"


def main() -> int:
    url, key = f"{os.environ['GATEWAY']}/v1/models", os.environ.get("API_KEY", "")
    wanted = 401 if os.environ["KEY_NEEDED"] == "true" and not key else 200
    deadline, seen = time.monotonic() + PATIENCE, "nothing"
    while True:
        try:
            status, body = ask(url, key)
        except OSError as error:
            seen = str(error)
        else:
            if status == wanted:
                print(f"{url} answers: {story(status, body)}")
                return 0
            seen = f"{status} {body[:500]!r}"
        if time.monotonic() > deadline:
            print(f"{url} should answer {wanted}; the last answer was {seen}", file=sys.stderr)
            return 1
        time.sleep(1)


sys.exit(main())
