"""Reading requests: every field's limits, and that an error names the field at fault."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.engine.protocol import Sampling
from paddock_runtime.jobs import EmbedWork, GenerateWork
from paddock_runtime.openai.chat import chat_work, read_chat, with_system
from paddock_runtime.openai.completions import read_completion
from paddock_runtime.openai.embeddings import embed_work, read_embedding
from paddock_runtime.openai.generation import generate_work
from tests.unit.server.scripted import served

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gemma", "messages": HELLO, **fields}


BAD_CHAT: list[tuple[dict[str, Any], str, Code]] = [
    ({"messages": HELLO}, "model", Code.INVALID_REQUEST),
    (chat(model=""), "model", Code.INVALID_REQUEST),
    (chat(model=["gemma"]), "model", Code.INVALID_REQUEST),
    (chat(model="x" * 600), "model", Code.INVALID_REQUEST),
    (chat(messages=[]), "messages", Code.INVALID_REQUEST),
    (chat(messages="Hello"), "messages", Code.INVALID_REQUEST),
    (chat(messages=["Hello"]), "messages[0]", Code.INVALID_REQUEST),
    (chat(messages=[*HELLO, {"role": "boss", "content": "x"}]), "messages[1].role", Code.INVALID_REQUEST),
    (chat(messages=[{"role": "user"}]), "messages[0].content", Code.INVALID_REQUEST),
    (chat(messages=[{"role": "user", "content": 5}]), "messages[0].content", Code.INVALID_REQUEST),
    (chat(messages=[{"role": "tool", "content": "x"}]), "messages[0].role", Code.UNSUPPORTED),
    (chat(messages=[{"role": "assistant", "tool_calls": [{}]}]), "messages[0].tool_calls", Code.UNSUPPORTED),
    (chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}]),
     "messages[0].content[1]", Code.UNSUPPORTED),
    (chat(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "messages[0].content[0]",
     Code.UNSUPPORTED),
    (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text",
     Code.INVALID_REQUEST),
    (chat(tools=[{"type": "function"}]), "tools", Code.UNSUPPORTED),
    (chat(functions=[{"name": "f"}]), "functions", Code.UNSUPPORTED),
    (chat(tool_choice={"type": "function"}), "tool_choice", Code.UNSUPPORTED),
    (chat(modalities=["audio"]), "modalities", Code.UNSUPPORTED),
    (chat(max_tokens=0), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens=-1), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens=10**12), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens=10**400), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens=1.5), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens="5"), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_tokens=True), "max_tokens", Code.INVALID_REQUEST),
    (chat(max_completion_tokens=0), "max_completion_tokens", Code.INVALID_REQUEST),
    (chat(n=0), "n", Code.INVALID_REQUEST),
    (chat(n=17), "n", Code.INVALID_REQUEST),
    (chat(stop=["x"] * 17), "stop", Code.INVALID_REQUEST),
    (chat(stop=["x", "y" * 257]), "stop[1]", Code.INVALID_REQUEST),
    (chat(stop=[""]), "stop[0]", Code.INVALID_REQUEST),
    (chat(stop=[1]), "stop[0]", Code.INVALID_REQUEST),
    (chat(temperature="hot"), "temperature", Code.INVALID_REQUEST),
    (chat(temperature=2.1), "temperature", Code.INVALID_REQUEST),
    (chat(temperature=float("inf")), "temperature", Code.INVALID_REQUEST),
    (chat(temperature=float("nan")), "temperature", Code.INVALID_REQUEST),
    (chat(top_p=-0.1), "top_p", Code.INVALID_REQUEST),
    (chat(seed=2**63), "seed", Code.INVALID_REQUEST),
    (chat(logit_bias={"x": 1}), "logit_bias", Code.INVALID_REQUEST),
    (chat(logit_bias={"-1": 1}), "logit_bias", Code.INVALID_REQUEST),
    (chat(logit_bias={"99999999999": 1}), "logit_bias", Code.INVALID_REQUEST),
    (chat(logit_bias={"5": 101}), "logit_bias.5", Code.INVALID_REQUEST),
    (chat(logit_bias=[5]), "logit_bias", Code.INVALID_REQUEST),
    (chat(top_logprobs=2), "top_logprobs", Code.INVALID_REQUEST),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs", Code.INVALID_REQUEST),
    (chat(logprobs=2), "logprobs", Code.INVALID_REQUEST),
    (chat(stream="yes"), "stream", Code.INVALID_REQUEST),
    (chat(stream_options={"include_usage": True}), "stream_options", Code.INVALID_REQUEST),
    (chat(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage", Code.INVALID_REQUEST),
    (chat(response_format="json"), "response_format", Code.INVALID_REQUEST),
    (chat(response_format={"type": "yaml"}), "response_format.type", Code.INVALID_REQUEST),
    (chat(response_format={"type": "json_schema"}), "response_format.json_schema", Code.INVALID_REQUEST),
    (chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}}),
     "response_format.json_schema.schema", Code.INVALID_REQUEST),
    (chat(response_format={"type": "json_object", "schema": {"description": "x" * 70_000}}),
     "response_format.schema", Code.INVALID_GRAMMAR),
    (chat(grammar="x" * 70_000), "grammar", Code.INVALID_REQUEST),
    (chat(grammar="root ::= \"a\"", response_format={"type": "json_object"}), "grammar", Code.INVALID_REQUEST),
    (chat(chat_template_kwargs=[1]), "chat_template_kwargs", Code.INVALID_REQUEST),
    (chat(echo=True), "echo", Code.UNSUPPORTED),
]


@pytest.mark.parametrize(("body", "param", "code"), BAD_CHAT, ids=[f"{i}-{row[1]}" for i, row in enumerate(BAD_CHAT)])
def test_bad_chat_requests_name_the_field(body: dict[str, Any], param: str, code: Code) -> None:
    with pytest.raises(PaddockError) as caught:
        read_chat(body)
    assert (caught.value.param, caught.value.code, caught.value.status) == (param, code, 400)
    assert param.split(".")[-1].split("[")[0] in caught.value.message


def test_null_and_unknown_fields_count_as_left_out() -> None:
    nulls = dict.fromkeys(("max_tokens", "temperature", "n", "stop", "seed", "logprobs", "tools", "stream",
                           "response_format", "logit_bias", "stream_options", "user", "chat_template_kwargs"))
    request = read_chat(chat(**nulls, frobnicate={"x": 1}, functions=[], tool_choice="auto"))
    assert (request.options.choices, request.options.max_tokens, dict(request.options.sampling)) == (1, None, {})


def test_content_parts_roles_and_names() -> None:
    request = read_chat(chat(messages=[
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "x", "name": "Ann"},
        {"role": "assistant", "content": None},
    ]))
    assert request.messages == [{"role": "system", "content": "a\nb"}, {"role": "user", "content": "x", "name": "Ann"},
                                {"role": "assistant", "content": ""}]


def test_all_options_reach_the_work() -> None:
    body = chat(n=2, max_tokens=9, max_completion_tokens=7, stop="END", temperature=0, top_k=-1, min_p=0.1, seed=-1,
                logit_bias={"7": -100}, logprobs=True, top_logprobs=3, dry_multiplier=0.8,
                dry_sequence_breakers=["\n"], ignore_eos=True, response_format={"type": "json_object"})
    work = generate_work(read_chat(body).options, "p", served())
    assert work == GenerateWork(
        prompt="p", choices=2, max_tokens=7, stop=["END"], logprobs=3, json_schema='{"type":"object"}',
        sampling=Sampling(temperature=0.0, top_k=0, min_p=0.1, seed=2**32 - 2, logit_bias={7: -100.0},
                          dry_multiplier=0.8, dry_sequence_breakers=("\n",), ignore_eos=True))


@pytest.mark.parametrize("seed", [2**32 - 1, -(2**63), 2**63 - 1, 0])
def test_no_seed_becomes_the_engine_word_for_random(seed: int) -> None:
    assert 0 <= generate_work(read_chat(chat(seed=seed)).options, "p", served()).sampling.seed < 2**32 - 1  # type: ignore[operator]


def test_defaults_fill_what_the_request_leaves_out_and_zero_is_a_value() -> None:
    model = served(defaults={"temperature": 0.5, "topK": 7, "maxTokens": 33, "seed": 4, "repeatPenalty": 1.2})
    work = generate_work(read_chat(chat(temperature=0)).options, "p", model)
    assert (work.sampling.temperature, work.sampling.top_k, work.sampling.seed, work.max_tokens) == (0.0, 7, 4, 33)
    assert work.sampling.repeat_penalty == 1.2
    assert generate_work(read_chat(chat(max_tokens=1)).options, "p", model).max_tokens == 1


def test_logit_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(PaddockError, match="1000 tokens") as caught:
        generate_work(read_chat(chat(logit_bias={"1000": 1})).options, "p", served())
    assert caught.value.param == "logit_bias"


def test_the_system_prompt_of_the_model_gives_way_to_the_client_s() -> None:
    assert with_system(HELLO, "Be brief.") == [{"role": "system", "content": "Be brief."}, *HELLO]
    own = [{"role": "system", "content": "Mine."}, *HELLO]
    assert with_system(own, "Be brief.") == own


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, template: str, **values: Any) -> str:
        self.calls.append((template, values))
        return "rendered"


async def test_the_template_of_the_spec_wins_over_that_of_the_file() -> None:
    render = Recorder()
    request = read_chat(chat(chat_template_kwargs={"thinking": False}))
    work = await chat_work(request, served(engine={"chatTemplate": "mine"}, defaults={"systemPrompt": "S"}), render)
    assert work.prompt == "rendered"
    template, values = render.calls[0]
    assert template == "mine"
    assert values == {"messages": [{"role": "system", "content": "S"}, *HELLO], "bos_token": "<bos>",
                      "eos_token": "<eos>", "add_bos": True, "add_generation_prompt": True,
                      "variables": {"thinking": False}}


async def test_a_model_without_any_template_says_what_to_do() -> None:
    with pytest.raises(PaddockError, match=r"chatTemplate.*/v1/completions") as caught:
        await chat_work(read_chat(chat()), served(chat_template=None), Recorder())
    assert caught.value.code is Code.TEMPLATE_FAILED


async def test_an_encoder_does_not_chat_and_a_text_model_does_not_embed() -> None:
    with pytest.raises(PaddockError, match="/v1/embeddings"):
        await chat_work(read_chat(chat()), served(memory_class="encoder", chat_template=None), Recorder())
    with pytest.raises(PaddockError, match="not embeddings"):
        embed_work(read_embedding({"model": "gemma", "input": "x"}), served())


@pytest.mark.parametrize(("fields", "param"), [
    ({}, "prompt"), ({"prompt": 5}, "prompt"), ({"prompt": ["a", "b"]}, "prompt"), ({"prompt": []}, "prompt"),
    ({"prompt": [-1]}, "prompt"), ({"prompt": [2**40]}, "prompt"), ({"prompt": "x", "logprobs": True}, "logprobs"),
    ({"prompt": "x", "logprobs": 21}, "logprobs"), ({"prompt": "x", "echo": True}, "echo"),
    ({"prompt": "x", "suffix": "y"}, "suffix"), ({"prompt": "x", "n": 2, "best_of": 3}, "best_of"),
    ({"prompt": [1, True]}, "prompt"),
])
def test_bad_completion_requests_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(PaddockError) as caught:
        read_completion({"model": "gemma", **fields})
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize(("prompt", "read"), [("x", "x"), (["x"], "x"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2]), ("", "")])
def test_prompts(prompt: object, read: object) -> None:
    assert read_completion({"model": "gemma", "prompt": prompt}).prompt == read


@pytest.mark.parametrize(("fields", "param"), [
    ({}, "input"), ({"input": ""}, "input[0]"), ({"input": []}, "input"), ({"input": ["a", 5]}, "input[1]"),
    ({"input": ["a"] * 2049}, "input"), ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": {"a": 1}}, "input"), ({"input": "a", "dimensions": 0}, "dimensions"), ({"input": [[-4]]}, "input[0]"),
])
def test_bad_embedding_requests_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(PaddockError) as caught:
        read_embedding({"model": "gemma", **fields})
    assert (caught.value.param, caught.value.status) == (param, 400)


def test_embedding_inputs_and_dimensions() -> None:
    encoder = served(memory_class="encoder")
    request = read_embedding({"model": "gemma", "input": ["a", [1, 2]], "dimensions": 2})
    assert embed_work(request, encoder) == EmbedWork(inputs=["a", [1, 2]])
    assert read_embedding({"model": "gemma", "input": [1, 2]}).inputs == [[1, 2]]
    with pytest.raises(PaddockError, match="must be 2") as caught:
        embed_work(read_embedding({"model": "gemma", "input": "a", "dimensions": 3}), encoder)
    assert caught.value.param == "dimensions"
