"""The whole pod under what its users do to it: alternation, disorder, hostile files, files changed under it."""

from __future__ import annotations

import os
import random
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from paddock_runtime.system.memory import pss_bytes
from tests import models
from tests.pod_kit import DEADLINE, PodThread, eventually, write_gemma, write_model

MIB = 1 << 20


def ask(pod: PodThread, model: str, prompt: str, *, max_tokens: int = 4, **options: object) -> httpx.Response:
    body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **options}
    return httpx.post(f"{pod.url}/v1/completions", json=body, timeout=DEADLINE)


class PssSampler:
    """Reads the sum of the engines' PSS as fast as it can, from outside."""

    def __init__(self, pod: PodThread) -> None:
        self._pod = pod
        self._over = threading.Event()
        self.samples: list[int] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> PssSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            pids = [int(engine["pid"]) for engine in self._pod.state()["engines"] if engine["pid"]]
            self.samples.append(sum(pss_bytes(pid) or 0 for pid in pids))


def test_two_hundred_alternating_requests_in_a_budget_for_one(tmp_path: Path) -> None:
    quick = {"minResidency": "0s"}
    for name, path in (("one", models.gemma()), ("two", models.gemma_as("Q8_0"))):
        write_model(tmp_path, name, path, loading=quick, engine={"contextLength": 512, "parallel": 4})
    budget = 800 * MIB
    with PodThread(tmp_path, tmp_path / "cache", memory_bytes=budget) as pod:
        eventually(lambda: all(pod.model(name)["phase"] == "Cached" for name in ("one", "two")))
        sizes = [int(pod.model(name)["estimated_bytes"]) for name in ("one", "two")]
        assert max(sizes) <= budget < sum(sizes)
        with PssSampler(pod) as sampler, ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda n: ask(pod, ("one", "two")[n % 2], f"Count: {n}"), range(200)))
        assert [answer.status_code for answer in answers] == [200] * 200
        assert max(sampler.samples) <= budget
        loads = sum(int(pod.model(name)["loads"]) for name in ("one", "two"))
        assert 2 <= loads < 100  # waiting requests were served in groups


def test_five_hundred_disorderly_requests_leave_nothing(tmp_path: Path) -> None:
    rng = random.Random(11)
    write_model(tmp_path, "tiny", models.full(), engine={"contextLength": 512, "cacheTokens": 1024, "parallel": 6})

    def one(number: int) -> int:
        options: dict[str, object] = {
            "model": "tiny", "prompt": rng.choice(["ab ", "xyz "]) * rng.randint(1, 250), "stream": rng.random() < 0.6,
            "max_tokens": rng.choice([1, 7, 60, 300]), "n": rng.choice([1, 1, 3]), "temperature": rng.choice([0, 1.3]),
            "stop": rng.choice([None, ["e"], ["zz", "q"]]), "logprobs": rng.choice([None, 2]),
            "frequency_penalty": rng.choice([0, 0.5]), "seed": number, "top_k": rng.choice([0, 40])}
        try:
            with httpx.stream("POST", f"{pod.url}/v1/completions", json=options, timeout=DEADLINE) as answer:
                if rng.random() < 0.3:
                    return 0  # leaves in the middle, or before anything came
                answer.read()
                return answer.status_code
        except httpx.RemoteProtocolError:
            return -1

    def resources() -> tuple[int, int]:
        engine = pod.engine("tiny")
        assert engine is not None
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{engine['pid']}/fd"))

    def at_rest() -> bool:
        engine, model = pod.engine("tiny"), pod.model("tiny")
        return engine is not None and (model["busy"], model["waiting"]) == (0, 0) and (
            engine["counters"]["live"], engine["counters"]["waiting"]) == (0, 0)

    with PodThread(tmp_path, tmp_path / "cache") as pod, ThreadPoolExecutor(12) as clients:
        list(clients.map(one, range(100)))
        eventually(at_rest)
        before = resources()
        pid = pod.engine("tiny")["pid"]  # type: ignore[index]
        memory = pss_bytes(pid) or 0
        codes = set(clients.map(one, range(100, 500)))
        eventually(at_rest)
        assert codes <= {0, 200, 400}  # 400: a prompt too long for the context
        eventually(lambda: resources()[0] <= before[0] + 2)
        assert resources()[1] == before[1]
        engine = pod.engine("tiny")
        assert engine is not None
        assert engine["pid"] == pid
        assert (pss_bytes(pid) or 0) - memory < 24 * MIB
        assert engine["counters"]["cells_used"] <= engine["counters"]["cells_total"]


def test_mutated_files_harm_neither_the_pod_nor_other_models(tmp_path: Path) -> None:
    good = models.full().read_bytes()
    header = good.find(b"token_embd.weight")
    rng = random.Random(3)
    names = [f"bad-{number}" for number in range(24)]
    for name in names:
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(4, header + 200)
            data[at : at + 4] = rng.choice([struct.pack("<I", rng.getrandbits(32)), b"\xff\xff\xff\xff", b"\0\0\0\0"])
        (tmp_path / f"{name}.gguf").write_bytes(data)
        write_model(tmp_path, name, tmp_path / f"{name}.gguf")
    write_model(tmp_path, "good", models.full())
    with PodThread(tmp_path, tmp_path / "cache") as pod:
        for name in names:
            answer = ask(pod, name, "x", max_tokens=1)
            if answer.status_code != 200:  # some bytes do no harm
                error = answer.json()["error"]
                assert error["code"] in {"invalid_model_file", "unsupported_model", "load_failed", "no_fit",
                                         "context_failed", "engine_crashed", "template_failed"}, error
                assert error["message"]
                failure = pod.model(name)["failure"]
                assert failure is None or failure["message"]
        assert ask(pod, "good", "x", max_tokens=1).status_code == 200
        failed = [name for name in names if pod.model(name)["phase"] == "Failed"]
        assert len(failed) >= 10
        assert httpx.get(f"{pod.url}/livez", timeout=30).status_code == 200


def test_a_file_cut_under_its_mapping_ends_only_its_engine(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    shutil.copyfile(models.gemma(), path)
    write_gemma(tmp_path, path, name="own", contextLength=512)
    write_model(tmp_path, "other", models.full())
    with PodThread(tmp_path, tmp_path / "cache") as pod:
        assert ask(pod, "own", "x", max_tokens=1).status_code == 200
        assert ask(pod, "other", "x", max_tokens=1).status_code == 200
        other = pod.engine("other")
        stream = {"model": "own", "prompt": "Go on", "max_tokens": 400, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{pod.url}/v1/completions", json=stream, timeout=DEADLINE) as answer:
            lines = answer.iter_lines()
            next(line for line in lines if line.startswith("data:"))
            os.truncate(path, MIB)
            rest = [line for line in lines if line.startswith("data:")]
        assert "engine_crashed" in rest[-1]
        assert "[DONE]" not in rest[-1]
        assert ask(pod, "other", "x", max_tokens=1).status_code == 200
        untouched = pod.engine("other")
        assert other is not None
        assert untouched is not None
        assert untouched["pid"] == other["pid"]
        refused = ask(pod, "own", "x", max_tokens=1)
        assert refused.status_code != 200
        assert refused.json()["error"]["code"] == "invalid_model_file"
        shutil.copyfile(models.gemma(), tmp_path / "new.gguf")
        os.replace(tmp_path / "new.gguf", path)
        # A failure that lies in the file is void when the file is another one.
        eventually(lambda: ask(pod, "own", "x", max_tokens=1).status_code == 200)
