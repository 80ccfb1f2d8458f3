"""Records what llama-server renders: `python -m tests.templates.record LLAMA_SERVER [TEMPLATE …]`.

Writes goldens/TEMPLATE.json: the special tokens, and of each case the prompt, or the error for which it has none.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.models import gemma
from tests.templates.cases import CASES, HERE, TEMPLATES

START_SECONDS = 120


def record(server: Path, template: str) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(server), "-m", str(gemma()), "--jinja", "--chat-template-file", str(HERE / f"{template}.jinja"),
               "--host", "127.0.0.1", "--port", str(port), "-c", "512", "-np", "1", "-fit", "off", "--no-warmup",
               "--no-prefill-assistant"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return ask(f"http://127.0.0.1:{port}", process)
        finally:
            process.kill()


def ask(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        wait(client, process)
        found: dict[str, Any] = {}
        for name, case in CASES.items():
            answer = client.post("/apply-template", json=case)
            body = answer.json()
            found[name] = {"prompt": body["prompt"]} if answer.is_success else {"error": body["error"]["message"]}
        properties = client.get("/props").json()
        # Gemma's tokenizer puts BOS first by itself.
        return {"bos_token": properties["bos_token"], "eos_token": properties["eos_token"], "add_bos": True,
                "build": properties["build_info"], "cases": found}


def wait(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"llama-server did not start (exit {process.poll()}): does it take this template?")


def main() -> None:
    server = Path(sys.argv[1])
    (HERE / "goldens").mkdir(exist_ok=True)
    for template in sys.argv[2:] or TEMPLATES:
        found = record(server, template)
        text = json.dumps(found, ensure_ascii=False, indent=1)
        (HERE / "goldens" / f"{template}.json").write_text(text + "\n", encoding="utf-8")
        print(template, len(found["cases"]))


if __name__ == "__main__":
    main()
