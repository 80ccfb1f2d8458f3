"""The engine child over its socket: what it answers, and that everything comes back."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paddock_runtime.engine.protocol import (
    CloseContext,
    ContextClosed,
    ContextFailed,
    ContextOptions,
    Generate,
    Load,
    LoadFailed,
    OpenContext,
    Pause,
    Resume,
    Sampling,
    Stats,
    Threads,
)
from tests import models
from tests.engine_core import loaded
from tests.engine_driver import GREEDY, Answer, EngineProcess

SMALL = ContextOptions(context_length=512, cache_tokens=2048, parallel=8)


@pytest.fixture(scope="module")
def gemma() -> Iterator[EngineProcess]:
    engine = EngineProcess(models.gemma(), SMALL)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def exact() -> Iterator[EngineProcess]:
    """Weights of 32 bits, for draws that must repeat: quantized ones give other logits in other cells, and so now and
    then another token."""
    engine = EngineProcess(models.full(), SMALL)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def minilm() -> Iterator[EngineProcess]:
    engine = EngineProcess(models.minilm())
    yield engine
    engine.close()


def test_facts_name_the_memory_class() -> None:
    classes = {}
    for name, build in {"full": models.full, "sliding": models.sliding, "recurrent": models.recurrent,
                        "hybrid": models.hybrid, "encoder": models.minilm}.items():
        engine = EngineProcess(build())
        classes[name] = engine.facts.memory_class
        engine.close()
    assert classes == {name: name for name in classes}


def test_greedy_text_is_the_same_alone_and_in_company(gemma: EngineProcess) -> None:
    """Company moves logits by 0.1 on average and 1.1 at most (the noise floor of quantized weights on SIMD), so a near
    tie may fall the other way. From there on the texts differ; what was taken must have been one of a tie.
    """
    prompts = ["The number one is followed by", "Water boils at", "Once upon a time there was", "def fibonacci(n):",
               "The sun rises in the"]
    whole = Sampling(temperature=0.0, ignore_eos=True)
    alone = [gemma.ask(prompt, max_tokens=12, sampling=whole, logprobs=5) for prompt in prompts]
    together = gemma.wait(*gemma.generate_all(prompts, max_tokens=12, sampling=whole, salt="other"))
    with_logprobs = gemma.wait(*gemma.generate_all(prompts, max_tokens=12, sampling=whole, salt="third", logprobs=5))
    for one, other, texts in zip(alone, with_logprobs, together, strict=True):
        assert texts.usage is not None
        assert texts.usage.completion_tokens == len(one.logprobs) == len(other.logprobs) == 12
        pairs = zip(one.logprobs, other.logprobs, strict=True)
        parted = next(((a, b) for a, b in pairs if a.chosen.data != b.chosen.data), None)
        if parted is not None:
            likely = {entry.data: entry.logprob for entry in parted[0].top}
            assert parted[0].chosen.logprob - likely[parted[1].chosen.data] <= 2 * 1.1


def test_a_seed_repeats_and_another_differs(exact: EngineProcess) -> None:
    def draw(seed: int) -> str:
        return exact.ask("Once upon a time", max_tokens=24, sampling=Sampling(temperature=1.0, seed=seed)).text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("sampling", [
    Sampling(top_k=0, seed=1), Sampling(top_k=1, seed=1), Sampling(top_k=300, seed=1), Sampling(typical_p=0.7, seed=1),
    Sampling(repeat_penalty=1.3, seed=1), Sampling(presence_penalty=1.0, frequency_penalty=0.5, temperature=0.0),
    Sampling(dry_multiplier=0.8, seed=1), Sampling(xtc_probability=0.9, xtc_threshold=0.05, seed=1),
    Sampling(top_p=1.0, min_p=0.0, top_k=0, temperature=2.0, seed=1),
], ids=str)
def test_every_sampler_answers_and_repeats(exact: EngineProcess, sampling: Sampling) -> None:
    texts = {exact.ask("Numbers: one two one two one two", max_tokens=12, sampling=sampling).text for _ in range(2)}
    assert len(texts) == 1
    assert texts != {""}


def test_penalties_and_bias_change_the_choice(gemma: EngineProcess) -> None:
    prompt = "one two one two one two one two"
    free = gemma.ask(prompt, max_tokens=8).text
    penalised = gemma.ask(prompt, max_tokens=8, sampling=Sampling(temperature=0, repeat_penalty=1.8)).text
    assert free != penalised
    first = gemma.ask(prompt, max_tokens=1, logprobs=1)
    banned = gemma.ask(prompt, max_tokens=1, sampling=Sampling(temperature=0, logit_bias={_token(first): -100.0}))
    assert banned.text != first.text


def _token(answer: Answer) -> int:
    with loaded(models.gemma()) as weights:
        return next(token for token in range(weights.vocabulary) if weights.piece(token) == answer.text.encode())


def test_shortcuts_choose_what_the_whole_chain_chooses(gemma: EngineProcess) -> None:
    # Penalties that penalise nothing force the full chain; top_k 40 alone takes the short cut.
    for seed in range(6):
        short = gemma.ask("The weather today is", max_tokens=10, sampling=Sampling(seed=seed)).text
        whole = gemma.ask("The weather today is", max_tokens=10,
                          sampling=Sampling(seed=seed, presence_penalty=1e-9)).text
        assert short == whole


def test_stop_strings_that_span_tokens(gemma: EngineProcess) -> None:
    free = gemma.ask("The capital of France is", max_tokens=20).text
    stop = free[10:17]
    answer = gemma.ask("The capital of France is", max_tokens=20, stop=["never this", stop])
    assert answer.text == free[: free.index(stop)]
    assert (answer.finish, answer.stopped_by) == ("stop", stop)


def test_max_tokens_and_ignore_eos_give_exactly_that_many(gemma: EngineProcess) -> None:
    answer = gemma.ask("Hi", max_tokens=60, sampling=Sampling(ignore_eos=True, seed=3))
    assert answer.usage is not None
    assert (answer.finish, answer.usage.completion_tokens) == ("length", 60)


def test_a_schema_is_kept_to(gemma: EngineProcess) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
                                               "size": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["name", "size"], "additionalProperties": False}
    for seed in range(5):
        answer = gemma.ask("A fruit:", max_tokens=80, sampling=Sampling(temperature=1.2, seed=seed),
                           json_schema=json.dumps(schema))
        assert answer.finish == "stop"
        value = json.loads(answer.text)
        assert set(value) == {"name", "size"}
        assert isinstance(value["size"], int)


def test_a_grammar_is_kept_to(gemma: EngineProcess) -> None:
    answer = gemma.ask("Answer:", max_tokens=20, sampling=Sampling(temperature=1.5, seed=1),
                       grammar='root ::= ("yes" | "no") "!"')
    assert answer.text in ("yes!", "no!")
    assert answer.finish == "stop"


BAD_GRAMMARS = {
    "nested": "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000,
    "chain": "\n".join(f"r{n} ::= r{n + 1}" for n in range(3000)) + '\nroot ::= r0\nr3000 ::= "a"',
    "undefined": "root ::= undefined",
    "garbage": "not a grammar",
}


@pytest.mark.parametrize("grammar", list(BAD_GRAMMARS.values()), ids=list(BAD_GRAMMARS))
def test_a_bad_grammar_is_refused_and_the_child_lives(gemma: EngineProcess, grammar: str) -> None:
    answer = gemma.ask("x", grammar=grammar)
    assert answer.rejected is not None
    assert (answer.rejected.code, answer.rejected.param) == ("invalid_grammar", "grammar")
    assert gemma.ask("x", max_tokens=1).finish == "length"


def test_logprobs_are_those_of_the_raw_logits(gemma: EngineProcess) -> None:
    answer = gemma.ask("The capital of France is", max_tokens=4, logprobs=5)
    assert len(answer.logprobs) == 4
    for position in answer.logprobs:
        values = [rival.logprob for rival in position.top]
        assert values == sorted(values, reverse=True)
        assert position.chosen == position.top[0]
        assert 0 < np.exp(values).sum() <= 1.0 + 1e-6


def test_too_long_is_refused_with_the_numbers(gemma: EngineProcess) -> None:
    answer = gemma.ask("word " * 600)
    assert answer.rejected is not None
    assert answer.rejected.code == "context_length_exceeded"
    assert "602" in answer.rejected.message
    assert "511" in answer.rejected.message


@pytest.mark.parametrize("prompt", ["", [], [-1], [10**9]], ids=["empty text", "no tokens", "negative", "unknown"])
def test_impossible_prompts_are_refused(gemma: EngineProcess, prompt: str | list[int]) -> None:
    answer = gemma.ask(prompt)
    if prompt == "":  # BOS alone is a prompt for a model that wants one
        assert answer.finish is not None
    else:
        assert answer.rejected is not None
        assert answer.rejected.code == "invalid_request"


def test_the_context_end_finishes_with_length(gemma: EngineProcess) -> None:
    answer = gemma.ask("word " * 500, max_tokens=None, sampling=Sampling(temperature=0, ignore_eos=True))
    assert answer.usage is not None
    assert answer.finish == "length"
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 512


def test_cancel_frees_the_place(gemma: EngineProcess) -> None:
    (number,) = gemma.generate_all(["Tell me everything"], max_tokens=400, sampling=Sampling(ignore_eos=True, seed=1))
    gemma.wait(number, until=lambda answer: len(answer.text) > 20)
    gemma.cancel(number)
    stats = gemma.stats()
    assert (stats.live, stats.waiting) == (0, 0)
    generated = stats.tokens_generated
    time.sleep(0.5)
    assert gemma.stats().tokens_generated == generated


def test_cancel_in_the_middle_of_a_prompt(gemma: EngineProcess) -> None:
    before = gemma.stats().prompt_tokens_evaluated
    (number,) = gemma.generate_all(["alpha beta " * 240], max_tokens=5)
    gemma.wait(number, until=lambda answer: answer.started is not None)
    gemma.cancel(number)
    gemma.stats()  # perhaps a pulse from before the cancel
    stats = gemma.stats()
    assert stats.live == 0
    assert stats.prompt_tokens_evaluated - before < 480


def test_a_paused_reader_stops_only_its_own_sequence(gemma: EngineProcess) -> None:
    endless = Sampling(ignore_eos=True, seed=2)
    (slow,) = gemma.generate_all(["A slow story"], max_tokens=60, sampling=endless)
    gemma.wait(slow, until=lambda answer: len(answer.text) > 5)
    gemma.send(Pause(id=slow))
    gemma.stats()
    frozen = gemma.answers[slow].text
    (fast,) = gemma.generate_all(["A fast story"], max_tokens=40, sampling=endless)
    assert gemma.wait(fast)[0].finish == "length"
    assert gemma.answers[slow].text == frozen
    gemma.send(Resume(id=slow))
    usage = gemma.wait(slow)[0].usage
    assert usage is not None
    assert usage.completion_tokens == 60


def test_salts_keep_tenants_apart(gemma: EngineProcess) -> None:
    prompt = "A long secret prompt about the quarterly numbers " * 10
    first = gemma.ask(prompt, salt="a", max_tokens=1)
    again = gemma.ask(prompt, salt="a", max_tokens=1)
    other = gemma.ask(prompt, salt="b", max_tokens=1)
    assert first.usage is not None
    assert again.usage is not None
    assert other.usage is not None
    assert (first.usage.cached_tokens, other.usage.cached_tokens) == (0, 0)
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def test_contexts_take_turns_in_one_child(gemma: EngineProcess) -> None:
    gemma.open(5, ContextOptions(context_length=256, cache_tokens=512, parallel=2))
    here = gemma.generate_all(["One"] * 3, max_tokens=20, sampling=Sampling(ignore_eos=True, seed=1))
    there = gemma.generate_all(["Two"] * 3, max_tokens=20, sampling=Sampling(ignore_eos=True, seed=1), context=5)
    answers = gemma.wait(*here, *there)
    assert all(answer.finish == "length" for answer in answers)
    assert gemma.stats(5).tokens_generated == 60
    gemma.send(CloseContext(context=5))
    gemma.expect(ContextClosed)
    lost = gemma.ask("x", context=5)
    assert lost.rejected is not None
    assert lost.rejected.code == "internal_error"
    assert gemma.ask("x", max_tokens=1).finish == "length"


def test_threads_change_between_steps(gemma: EngineProcess) -> None:
    gemma.send(Threads(count=1))
    assert gemma.ask("x", max_tokens=3).finish is not None
    gemma.send(Threads(count=2))
    assert gemma.ask("x", max_tokens=3).finish is not None


def test_embeddings_know_what_is_alike(minilm: EngineProcess) -> None:
    answer = minilm.embed("The cat sits on the mat.", "A kitten rests on a rug.", "Quarterly revenue fell by 3%.")
    assert answer.embedded is not None
    vectors = [np.frombuffer(data, "<f4") for data in answer.embedded.vectors]
    assert [len(vector) for vector in vectors] == [answer.embedded.dimensions] * 3 == [384] * 3
    assert all(abs(float(np.linalg.norm(vector)) - 1) < 1e-5 for vector in vectors)
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.3


def test_embeddings_are_the_same_alone_and_in_company(minilm: EngineProcess) -> None:
    texts = [f"Sentence number {number} about {'rain ' * number}" for number in range(40)]
    together = minilm.embed(*texts).embedded
    alone = minilm.embed(texts[33]).embedded
    assert together is not None
    assert alone is not None
    a, b = (np.frombuffer(data, "<f4") for data in (together.vectors[33], alone.vectors[0]))
    assert float(a @ b) > 0.9999


def test_an_over_long_embedding_input_is_refused_not_fatal(minilm: EngineProcess) -> None:
    answer = minilm.embed("word " * 5000)
    assert answer.rejected is not None
    assert (answer.rejected.code, answer.rejected.param) == ("context_length_exceeded", "input")
    assert "512" in answer.rejected.message
    assert minilm.embed("fine").embedded is not None


def test_each_kind_refuses_the_others_work(gemma: EngineProcess, minilm: EngineProcess) -> None:
    generated, embedded = minilm.ask("x"), gemma.embed("x")
    assert generated.rejected is not None
    assert embedded.rejected is not None
    assert generated.rejected.code == embedded.rejected.code == "unsupported"
    assert "embeddings" in embedded.rejected.message


def test_pooled_embeddings_of_a_decoder() -> None:
    engine = EngineProcess(models.full(), ContextOptions(embeddings=True, pooling="last", context_length=512))
    answer = engine.embed("one", "two three", "one")
    assert answer.embedded is not None
    assert answer.embedded.vectors[0] == answer.embedded.vectors[2] != answer.embedded.vectors[1]
    engine.close()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100], ids=["empty", "cut", "other format"])
def test_a_bad_file_is_one_clear_report(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    engine = EngineProcess.bare()
    engine.send(Load(paths=[str(path)]))
    report = engine.expect(LoadFailed)
    assert report.code == "invalid_model_file"
    assert report.message
    assert engine.ended() == 0


def test_a_context_that_can_not_be_is_one_clear_report() -> None:
    engine = EngineProcess(models.tiny(0))
    engine.send(OpenContext(context=1, options=ContextOptions(context_length=1000, cache_tokens=512)))
    report = engine.expect(ContextFailed)
    assert "cacheTokens" in report.message
    assert engine.ask("x", max_tokens=1).finish == "length"
    engine.close()


def test_the_child_ends_when_its_socket_closes_in_the_middle_of_work() -> None:
    engine = EngineProcess(models.gemma(), SMALL)
    numbers = engine.generate_all(["Go on"] * 4, max_tokens=400, sampling=Sampling(ignore_eos=True, seed=1))
    engine.wait(*numbers, until=lambda answer: bool(answer.text))
    assert engine.close() == 0


def test_garbage_on_the_socket_ends_the_child() -> None:
    engine = EngineProcess.bare()
    engine.socket.sendall(b"\xff" * 64)
    assert engine.ended() == 1


def test_pulses_tell_steps_and_idleness(gemma: EngineProcess) -> None:
    idle = gemma.expect(Stats)
    assert not idle.busy
    (number,) = gemma.generate_all(["Go"], max_tokens=200, sampling=Sampling(ignore_eos=True, seed=1))
    busy = gemma.expect(Stats)
    assert busy.busy
    assert busy.step > idle.step
    gemma.wait(number)


def test_five_hundred_random_requests_leave_nothing(gemma: EngineProcess) -> None:
    rng = random.Random(5)
    engine = EngineProcess(models.full(), ContextOptions(context_length=512, cache_tokens=1024, parallel=8))

    def wave(count: int) -> None:
        numbers, cancelled = [], set()
        for _ in range(count):
            sampling = rng.choice([GREEDY, Sampling(seed=1), Sampling(repeat_penalty=1.2), Sampling(ignore_eos=True),
                                   Sampling(top_k=0, dry_multiplier=0.5), Sampling(xtc_probability=0.5)])
            text = rng.choice(["alpha ", "beta ", "gamma delta "]) * rng.randint(0, 120)
            command = Generate(
                id=next(engine._ids), context=0, salt=rng.choice("ab"), prompt=text, sampling=sampling,
                max_tokens=rng.choice([1, 5, 40, None]) if len(text) > 200 else rng.randint(1, 60),
                stop=rng.choice([[], ["e"], ["zz", "q"]]), logprobs=rng.choice([None, 0, 3]),
                json_schema=rng.choice([None, None, None, '{"type": "integer"}']))
            engine.send(command)
            numbers.append(command.id)
            if rng.random() < 0.3:
                victim = rng.choice(numbers)
                engine.cancel(victim)
                cancelled.add(victim)
        engine.wait(*[number for number in numbers if number not in cancelled])

    def resources() -> tuple[int, int, int]:
        root = Path(f"/proc/{engine.process.pid}")
        rollup = (root / "smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return len(list((root / "fd").iterdir())), len(list((root / "task").iterdir())), pss

    wave(100)
    descriptors, threads, memory = resources()
    wave(400)
    after = resources()
    stats = engine.stats()
    assert (stats.live, stats.waiting) == (0, 0)
    assert stats.cells_used <= stats.cells_total
    assert after[:2] == (descriptors, threads)
    assert after[2] - memory < 16 << 10  # KiB: buffers settle, nothing grows with the number of requests
    engine.close()
