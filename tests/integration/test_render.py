"""The renderer with real workers: bombs end alone, soon and with a reason; the next render works."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.render import Renderer
from paddock_runtime.render.renderer import MAX_TEMPLATE_BYTES, MAX_WAITING

SECRET = "canary-5f1c"
HI = [{"role": "user", "content": "Hi"}]
ENDLESS = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"

DOUBLES = "{% set n = namespace(s=START) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}"
TREE = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}"


@pytest.fixture
async def renderer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Renderer]:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    made = Renderer(cpu_seconds=0.5, output_bytes=1 << 20)
    await made.start()
    yield made
    pids = made.pids
    await made.close()
    assert not any(running(pid) for pid in pids)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while running(pid):  # noqa: ASYNC110 (nothing announces the end of somebody else's process)
            await asyncio.sleep(0.02)


def shown(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def open_files(pid: int) -> set[str]:
    return {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}


async def render(renderer: Renderer, template: str, messages: list[dict[str, Any]] = HI, **changes: Any) -> str:
    return await renderer.render(template, **{
        "messages": messages, "bos_token": "<bos>", "eos_token": "<eos>", "add_bos": True, **changes})


async def failure(renderer: Renderer, template: str, messages: list[dict[str, Any]] = HI, **changes: Any) -> str:
    with pytest.raises(PaddockError) as failed:
        await render(renderer, template, messages, **changes)
    assert failed.value.code is Code.TEMPLATE_FAILED
    assert failed.value.status == 400
    assert len(failed.value.message) < 700
    return failed.value.message


async def test_variables_and_tokens_reach_the_template(renderer: Renderer) -> None:
    source = "{{ messages[0].content }}|{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}|{{ mine }}"
    assert await render(renderer, source, variables={"mine": "é"}) == "Hi|<bos>|<eos>|True|é"
    assert await render(renderer, source, add_generation_prompt=False) == "Hi|<bos>|<eos>|False|"


async def test_a_client_can_change_defaults_but_not_the_messages(renderer: Renderer) -> None:
    source = "{{ enable_thinking }} {{ date_string }} {{ messages | length }} {{ eos_token }}"
    before = datetime.now().astimezone().strftime("%d %b %Y")
    plain = await render(renderer, source)
    after = datetime.now().astimezone().strftime("%d %b %Y")
    assert plain in {f"True {day} 1 <eos>" for day in (before, after)}
    forged = {"enable_thinking": False, "date_string": "x", "messages": [], "eos_token": ""}
    assert await render(renderer, source, variables=forged) == "False x 1 <eos>"


@pytest.mark.parametrize(("add_bos", "source", "text"), [
    (True, "{{ bos_token }}a", "a"),
    (True, "a{{ bos_token }}", "a<bos>"),
    (True, "a", "a"),
    (False, "{{ bos_token }}a", "<bos>a"),
])
async def test_bos_comes_from_the_tokenizer_or_the_template_not_both(
    renderer: Renderer, add_bos: bool, source: str, text: str
) -> None:
    assert await render(renderer, source, add_bos=add_bos) == text


BOMBS = {
    "endless loops": (ENDLESS, "0.5 seconds of CPU"),
    "an endless loop of text": (ENDLESS.replace("{% endfor %}", "x{% endfor %}", 1), "bytes"),
    "a 200 MB string": ("{% set a = 'a' * 200000000 %}{{ a | length }}{{ (a ~ a) | length }}", "was stopped"),
    "a 200 MB text": ("{% for i in range(200) %}{{ 'a' * 1000000 }}{% endfor %}", "bytes"),
    "a string that doubles": (DOUBLES.replace("START", "'ab'"), "256 MiB"),
    "a list that doubles": (DOUBLES.replace("START", "[1]"), "256 MiB"),
    "a number without end": ("{{ 9 ** (9 ** 9) }}", "CPU"),
    "a power to print": ("{{ (10 ** 400000) | string | length }}{{ 7 ** 9999999 }}", ""),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recurses"),
    "two ways of recursion": (TREE, "CPU"),
    "a recursive loop": ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recurses"),
    "a long range": ("{{ range(10 ** 9) | list }}", "Range too big"),
    "a wide format": ("{{ '%2000000000d' % 1 }}", "256 MiB"),
    "a wide format of another kind": ("{{ '{:>2000000000}'.format(1) }}", "256 MiB"),
    "a slow regular expression": ("{{ ('http://' ~ 'a.' * 200000) | urlize | length }}" * 50, ""),
    "many wraps": ("{{ ('a ' * 20000000) | wordwrap(1) | length }}", ""),
    "deep expressions": ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "deep"),
    "deep lists": ("{{ " + "[" * 20_000 + "1" + "]" * 20_000 + " }}", "deep"),
    "deep blocks": ("{% if 1 %}" * 3_000 + "{% endif %}" * 3_000, "deep"),
    "deep loops": ("{% for a in [1] %}" * 150 + "{% endfor %}" * 150, ""),
    "a long sum": ("{{ 1" + "+1" * 30_000 + " }}", ""),
    "many nots": ("{{ " + "not " * 15_000 + "1 }}", ""),
    "a constant folded at compile time": ("{% if false %}{{ 'a' * 9999999999 }}{% endif %}{{ 'b' * 9999999999 }}",
                                          "256 MiB"),
    "a long template": ("x" * (MAX_TEMPLATE_BYTES + 1), "limit of 65,536 bytes"),
    "an unknown tag": ("{% nothing %}", "line 1"),
    "an unfinished tag": ("\n{% if", "line 2"),
    "an undefined value": ("{{ a.b }}", "undefined"),
    "its own refusal": ("{{ raise_exception('Take turns\n') }}", "refuses these messages: Take turns"),
    "a lone surrogate": ("{{ '\\ud800' }}", "surrogate"),
}


@pytest.mark.parametrize(("source", "reason"), BOMBS.values(), ids=list(BOMBS))
async def test_a_bomb_ends_alone_and_the_next_render_works(renderer: Renderer, source: str, reason: str) -> None:
    before = peak_bytes()
    assert reason in await failure(renderer, source)
    assert await render(renderer, "{{ messages[0].content }}") == "Hi"
    assert peak_bytes() - before < 64 << 20


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


async def test_the_longest_template_renders(renderer: Renderer) -> None:
    source = "{{ messages[0].content }}" + "x" * (MAX_TEMPLATE_BYTES - 25)
    assert len(await render(renderer, source)) == MAX_TEMPLATE_BYTES - 23


async def test_output_up_to_the_limit_passes_and_one_byte_more_does_not(renderer: Renderer) -> None:
    text = "é" * (1 << 19)
    echo = "{{ messages[0].content }}"
    assert await render(renderer, echo, [{"role": "user", "content": text}]) == text
    assert "bytes" in await failure(renderer, echo, [{"role": "user", "content": text + "x"}])


async def test_a_worker_knows_no_secret_and_has_no_way_out(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    assert SECRET not in shown(pid, "environ")
    assert SECRET not in shown(pid, "cmdline")
    assert os.getpgid(pid) == pid
    limits = shown(pid, "limits")
    rows = {line[:25].strip(): line[25:].split()[0] for line in limits.splitlines()[1:]}
    assert rows["Max address space"] == str(256 << 20)
    assert (rows["Max file size"], rows["Max core file size"], rows["Max processes"]) == ("0", "0", "0")
    targets = open_files(pid)
    assert len([target for target in targets if target.startswith("socket:")]) == 1
    assert all(target == "/dev/null" or target.startswith("socket:") for target in targets)


async def test_others_wait_for_a_bomb_no_longer_than_its_limit(renderer: Renderer) -> None:
    started = time.monotonic()
    bomb = asyncio.create_task(failure(renderer, ENDLESS))
    others = [asyncio.create_task(render(renderer, f"{n}")) for n in range(20)]
    assert await asyncio.gather(*others) == [str(n) for n in range(20)]
    assert "CPU" in await bomb
    assert time.monotonic() - started < 30


async def test_the_wall_limit_ends_a_worker_that_uses_no_cpu(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    os.kill(pid, signal.SIGSTOP)
    assert "longer than 2.5 seconds" in await failure(renderer, "x")
    assert not running(pid)
    assert await render(renderer, "x") == "x"


async def test_a_worker_killed_while_idle_is_replaced_unseen(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert await render(renderer, "x") == "x"
    assert renderer.pids != [pid]


async def test_a_worker_killed_at_work_fails_that_render_only(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    task = asyncio.create_task(failure(renderer, ENDLESS))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in await task
    assert await render(renderer, "x") == "x"


async def test_a_caller_that_leaves_takes_its_render_along(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    task = asyncio.create_task(render(renderer, ENDLESS))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(pid)
    assert await render(renderer, "x") == "x"


async def test_the_queue_is_bounded(renderer: Renderer) -> None:
    (pid,) = renderer.pids
    os.kill(pid, signal.SIGSTOP)
    tasks = [asyncio.create_task(render(renderer, "x")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(PaddockError) as full:
        await render(renderer, "x")
    assert full.value.code is Code.QUEUE_FULL
    assert full.value.retry_after == 1
    os.kill(pid, signal.SIGCONT)
    assert await asyncio.gather(*tasks) == ["x"] * MAX_WAITING


async def test_workers_end_when_the_supervisor_is_gone() -> None:
    """The worker of a process that dies without a word sees its socket close."""
    program = ("import asyncio, os\nfrom paddock_runtime.render import Renderer\n"
               "async def main():\n    r = Renderer()\n    await r.start()\n    print(*r.pids, flush=True)\n"
               "    os.kill(os.getpid(), 9)\nasyncio.run(main())")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "api:runtime"})
    out, _ = await process.communicate()
    await gone(int(out))
    assert process.returncode == -signal.SIGKILL


async def test_close_ends_what_runs_and_what_comes_later() -> None:
    renderer = Renderer()
    await renderer.start()
    pids = renderer.pids
    tasks = [asyncio.create_task(render(renderer, ENDLESS)) for _ in range(3)]
    await asyncio.sleep(0.1)
    await renderer.close()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, PaddockError)
        assert result.code is Code.DRAINING
    with pytest.raises(PaddockError, match="stopping"):
        await render(renderer, "x")
    assert not any(running(pid) for pid in pids)
    assert renderer.pids == []


async def test_many_bombs_leave_nothing_behind(renderer: Renderer) -> None:
    await render(renderer, "x")
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(25):
        await failure(renderer, "{{ 'a' * 999999999 }}")
    await render(renderer, "x")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(renderer.pids) == 1
