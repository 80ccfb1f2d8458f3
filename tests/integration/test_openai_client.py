"""The openai client against a whole pod with real models."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.integration.conftest import descendants
from tests.models import gemma, minilm
from tests.pod_kit import PodThread, eventually, write_gemma, write_model

HELLO: list[Any] = [{"role": "user", "content": "Write a short story about a red fox."}]
COUNT = "One, two, three, four, five, six, seven,"


@pytest.fixture(autouse=True, scope="module")
def no_process_left_behind() -> Iterator[None]:
    """In place of the check after each test: this module's pod keeps its engines until the end."""
    before = set(descendants(os.getpid()))
    yield
    eventually(lambda: not set(descendants(os.getpid())) - before)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodThread]:
    folder = tmp_path_factory.mktemp("models")
    write_gemma(folder, gemma(), contextLength=2048)
    write_model(folder, "minilm", minilm(), aliases=["text-embedding-3-small"])
    with PodThread(folder, tmp_path_factory.mktemp("cache")) as pod, pod.client() as client:
        client.completions.create(model="gemma", prompt="Hi", max_tokens=1)  # loaded from here on
        yield pod


@pytest.fixture
def client(pod: PodThread) -> Iterator[OpenAI]:
    with pod.client() as client:
        yield client


def test_list_and_retrieve(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gemma", "minilm"]
    assert client.models.retrieve("gemma").owned_by == "default"


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=12, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    again = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=12, temperature=0)
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens - 1
    assert again.system_fingerprint == answer.system_fingerprint


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    options: dict[str, Any] = {"model": "gemma", "messages": HELLO, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_stop_ends_before_the_word(client: OpenAI) -> None:
    free = client.completions.create(model="gemma", prompt=COUNT, max_tokens=16, temperature=0).choices[0].text
    word = free.split()[2]
    stopped = client.completions.create(model="gemma", prompt=COUNT, max_tokens=16, temperature=0, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].text == free[:free.index(word)]


def test_a_seed_repeats_and_another_differs(client: OpenAI) -> None:
    def sample(seed: int) -> str | None:
        return client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=24, temperature=1.0,
                                              seed=seed).choices[0].message.content

    sample(7)  # from here on the prompt is cached: quantized weights give other logits where it is computed anew
    first = sample(7)
    assert sample(7) == first
    assert any(sample(seed) != first for seed in (8, 9, 10))


def test_two_choices_differ_also_with_a_seed(client: OpenAI) -> None:
    for seed in (None, 11):
        answer = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=24, temperature=1.2, n=2,
                                                seed=seed)
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.choices[0].message.content != answer.choices[1].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 24


def test_logprobs_of_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=6, temperature=0, logprobs=True,
                                            top_logprobs=3)
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    assert answer.usage is not None
    assert len(content) == answer.usage.completion_tokens
    assert "".join(entry.token for entry in content) == answer.choices[0].message.content
    for entry in content:
        tops = [top.logprob for top in entry.top_logprobs]
        assert len(tops) == 3
        assert tops == sorted(tops, reverse=True)
        assert entry.token == entry.top_logprobs[0].token  # greedy takes the likeliest
        assert -20 < entry.logprob <= 0


def test_logprobs_of_completions(client: OpenAI) -> None:
    choice = client.completions.create(model="gemma", prompt=COUNT, max_tokens=5, temperature=0, logprobs=2).choices[0]
    assert choice.logprobs is not None
    tokens, offsets = choice.logprobs.tokens, choice.logprobs.text_offset
    assert tokens is not None
    assert offsets is not None
    assert "".join(tokens) == choice.text
    assert [choice.text[offset:offset + len(token)] for token, offset in zip(tokens, offsets, strict=True)] == tokens


def test_json_schema(client: OpenAI) -> None:
    schema = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"], "properties": {
        "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}}}
    answer = client.chat.completions.create(
        model="gemma", messages=[{"role": "user", "content": "Describe a person."}], max_tokens=200, temperature=0.5,
        seed=3, response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}})
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age", "tags"}
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)
    assert 0 <= person["age"] <= 120
    assert set(person["tags"]) <= {"a", "b"}


def test_embeddings_float_and_base64_are_equal(client: OpenAI) -> None:
    inputs = ["A fox runs through the forest.", "A vixen is running in the woods.", "The stock market fell today."]
    floats = client.embeddings.create(model="text-embedding-3-small", input=inputs, encoding_format="float")
    coded = client.embeddings.create(model="minilm", input=inputs, encoding_format="base64")
    vectors = [item.embedding for item in floats.data]
    decoded = [list(struct.unpack("<384f", base64.b64decode(str(item.embedding)))) for item in coded.data]
    assert vectors == decoded
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > 0.6 > far
    assert floats.usage.prompt_tokens > 15


def test_a_model_that_is_not_there(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nowhere") as caught:
        client.chat.completions.create(model="nowhere", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_too_long_names_the_limit(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"3002 tokens.*2047") as caught:
        client.completions.create(model="gemma", prompt="fox " * 3000, max_tokens=1)
    assert caught.value.code == "context_length_exceeded"


def test_embeddings_too_long_is_a_400(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="512"):
        client.embeddings.create(model="minilm", input="fox " * 2000)


def test_cancelling_a_stream_frees_its_place(pod: PodThread, client: OpenAI) -> None:
    stream = client.completions.create(model="gemma", prompt=COUNT, max_tokens=1800, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    assert pod.model("gemma")["busy"] == 1
    eventually(lambda: pod.counter("gemma", "live") == 1)  # the counters come once a second: wait for fresh ones
    stream.close()
    eventually(lambda: pod.model("gemma")["busy"] == 0)
    eventually(lambda: pod.counter("gemma", "live") == 0)
    generated = pod.counter("gemma", "tokens_generated")
    assert generated < 1800
    client.completions.create(model="gemma", prompt="Hi", max_tokens=1)
    eventually(lambda: generated < pod.counter("gemma", "tokens_generated") <= generated + 2)
