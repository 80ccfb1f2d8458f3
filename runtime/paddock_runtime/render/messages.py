"""What a template sees of a request's messages."""

from __future__ import annotations

from typing import Any

from paddock_api.errors import Code, PaddockError


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with text contents: lists of text parts are joined by a line feed, as llama-server does.

    Raises PaddockError UNSUPPORTED for images, audio and the like.
    """
    return [message if not isinstance(message.get("content"), list)
            else {**message, "content": _joined(message["content"], f"messages[{index}].content")}
            for index, message in enumerate(messages)]


def _joined(parts: list[Any], field: str) -> str:
    texts = []
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise PaddockError(Code.UNSUPPORTED, f"{field}[{index}] is {str(kind)[:40]!r}: only parts of type text "
                               "are taken", param="messages")
        texts.append(part["text"])
    return "\n".join(texts)
