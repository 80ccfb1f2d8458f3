"""What a template sees of the messages: texts only."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.render.messages import plain_messages


def test_text_parts_are_joined_and_the_request_is_left_alone() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": parts}, {"role": "assistant", "content": None}, {"role": "user"}]
    assert plain_messages(messages) == [
        {"role": "user", "content": "one\ntwo"}, {"role": "assistant", "content": None}, {"role": "user"}]
    assert messages[0]["content"] is parts


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    {"type": "input_audio", "input_audio": {"data": ""}},
    {"type": "text"},
    {"type": "text", "text": 5},
    "text",
    None,
])
def test_other_parts_are_refused_with_their_place(part: Any) -> None:
    with pytest.raises(PaddockError) as refused:
        plain_messages([{"role": "user", "content": "a"}, {"role": "user", "content": [part]}])
    assert refused.value.code is Code.UNSUPPORTED
    assert "messages[1].content[0]" in refused.value.message
    assert refused.value.param == "messages"
