"""The message lists that every template is rendered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEMPLATES = sorted(path.stem for path in HERE.glob("*.jinja"))


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


# llama-server (and we) would say today's.
DATE = "22 Nov 2026"
_HI = message("user", "Hi")

CASES: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [_HI]},
    "system": {"messages": [message("system", " You are brief.\n"), _HI]},
    "turns": {"messages": [_HI, message("assistant", "Hello!"), message("user", "How are you?\n"),
                           message("assistant", " fine "), message("user", "ok")]},
    "system and turns": {"messages": [message("system", "Be kind."), _HI, message("assistant", "Hello!"),
                                      message("user", "Why?")]},
    "no generation prompt": {"messages": [_HI, message("assistant", "Hello!")], "add_generation_prompt": False},
    "unicode": {"messages": [
        message("user", "Grüße 世界 😀 \u200d e\u0301 \"quoted\" <b>&amp;'</b> back\\slash\ttab")]},
    "whitespace": {"messages": [message("user", "  lines \n\n end \n")]},
    "empty": {"messages": [message("user", "")]},
    "looks like a template": {"messages": [message("user", "{{ bos_token }}{% raw %}<end_of_turn></think>x")]},
    "text parts": {"messages": [message("user", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])]},
    "thoughts": {"messages": [_HI, message("assistant", "<think>hm\n</think>Hello!"), message("user", "Why?")]},
    "two users": {"messages": [_HI, message("user", "Are you there?")]},
    "variables": {"messages": [_HI], "chat_template_kwargs": {"enable_thinking": False, "date_string": "2 Feb 2026"}},
}
for _case in CASES.values():
    _case.setdefault("chat_template_kwargs", {"date_string": DATE})
