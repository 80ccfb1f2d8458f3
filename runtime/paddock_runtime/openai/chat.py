"""`POST /v1/chat/completions`: the request, and the prompt that a template makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from paddock_api.errors import Code, PaddockError
from paddock_runtime.jobs import GenerateWork, Served
from paddock_runtime.openai.fields import Fields, show
from paddock_runtime.openai.generation import Options, generate_work, read_options, refuse

MAX_TOP_LOGPROBS = 20
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_NO_TOOLS = "this version makes text only; describe the tools in the prompt, or constrain the answer by response_format"


class Render(Protocol):
    """Renders a chat template under limits. Raises PaddockError TEMPLATE_FAILED."""

    async def __call__(self, template: str, *, messages: list[dict[str, Any]], bos_token: str, eos_token: str,
                       add_bos: bool, add_generation_prompt: bool = True,
                       variables: dict[str, Any] | None = None) -> str: ...


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    options: Options
    messages: list[dict[str, Any]]
    variables: dict[str, Any]


def read_chat(body: dict[str, Any]) -> ChatRequest:
    """Raises PaddockError INVALID_REQUEST or UNSUPPORTED that names the field."""
    fields = Fields(body)
    for name in ("tools", "functions"):
        refuse(fields, name, _NO_TOOLS)
    for name in ("tool_choice", "function_call"):
        refuse(fields, name, _NO_TOOLS, allowed=("none", "auto"))
    refuse(fields, "modalities", "ask for text only", allowed=(["text"],))
    refuse(fields, "audio", "ask for text only")
    refuse(fields, "echo", "the prompt of a chat is not repeated")
    variables = fields.table("chat_template_kwargs")
    return ChatRequest(
        options=read_options(fields, logprobs=_logprobs(fields)),
        messages=_messages(fields),
        variables={} if variables is None else dict(variables.items()),
    )


async def chat_work(request: ChatRequest, served: Served, render: Render) -> GenerateWork:
    """Raises PaddockError TEMPLATE_FAILED when the Model has no template or it fails."""
    # First the checks that need no prompt, so that an encoder's missing template is not what its user hears of.
    draft = generate_work(request.options, "", served)
    prompt = await chat_prompt(request.messages, served, render, name=request.options.model,
                               variables=request.variables)
    return replace(draft, prompt=prompt)


async def chat_prompt(messages: list[dict[str, Any]], served: Served, render: Render, *, name: str,
                      variables: dict[str, Any] | None = None) -> str:
    """What the Model's template makes of `messages`; `name` is what errors call it. Raises PaddockError
    TEMPLATE_FAILED."""
    facts, spec = served.facts, served.revision.spec
    template = spec.engine.chat_template or facts.chat_template
    if not template:
        raise PaddockError(Code.TEMPLATE_FAILED, f"{name} has no chat template, neither in its file "
                           "nor in spec.engine.chatTemplate: set that, or use /v1/completions", param="messages")
    return await render(
        template,
        messages=with_system(messages, spec.defaults.system_prompt),
        bos_token=facts.bos_token,
        eos_token=facts.eos_token,
        add_bos=facts.add_bos,
        add_generation_prompt=True,
        variables=variables,
    )


def with_system(messages: list[dict[str, Any]], prompt: str | None) -> list[dict[str, Any]]:
    """The Model's own system prompt first, unless the client brings one."""
    if not prompt or any(message["role"] == "system" for message in messages):
        return messages
    return [{"role": "system", "content": prompt}, *messages]


def _logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if top and not wanted:
        raise fields.wrong("top_logprobs", "needs logprobs: set logprobs to true")
    return (top or 0) if wanted else None


def _messages(fields: Fields) -> list[dict[str, Any]]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise fields.wrong("messages", "must be a list of at least one message, such as "
                           '[{"role": "user", "content": "Hello"}]')
    return [_message(fields, f"messages[{index}]", message) for index, message in enumerate(messages)]


def _message(fields: Fields, path: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise fields.wrong(path, f"must be an object with role and content, not {show(message)}")
    inner = Fields(message, path)
    role = message.get("role")
    if role in ("tool", "function"):
        raise inner.wrong("role", f"{role} is not supported: {_NO_TOOLS}", code=Code.UNSUPPORTED)
    if not isinstance(role, str) or role not in _ROLES:
        raise inner.wrong("role", f"must be one of {', '.join(_ROLES)}, not {show(role)}")
    for name in ("tool_calls", "function_call", "audio"):
        refuse(inner, name, _NO_TOOLS)
    speaker = inner.text("name", 256)
    content = _content(inner, message.get("content"), role)
    return {"role": _ROLES[role], "content": content} | ({} if speaker is None else {"name": speaker})


def _content(message: Fields, content: Any, role: str) -> str:
    if isinstance(content, str):
        return content
    if content is None and role == "assistant":
        return ""
    if not isinstance(content, list) or not content:
        raise message.wrong("content", f"must be a string or a list of text parts, not {show(content)}")
    return "\n".join(_part(message, index, part) for index, part in enumerate(content))


def _part(message: Fields, index: int, part: Any) -> str:
    place = f"content[{index}]"
    if not isinstance(part, dict):
        raise message.wrong(place, f"must be an object such as {{\"type\": \"text\", …}}, not {show(part)}")
    kind = part.get("type")
    if kind not in ("text", "refusal"):
        raise message.wrong(place, f"of type {show(kind)} is not supported: send text parts only",
                            code=Code.UNSUPPORTED)
    text = part.get(kind)
    if not isinstance(text, str):
        raise message.wrong(f"{place}.{kind}", f"must be a string, not {show(text)}")
    return text
