"""Our renders against what llama-server made of the same template and messages (tests/templates/goldens)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.render import Renderer
from tests.templates.cases import CASES, HERE, TEMPLATES

# Where we differ on purpose: (template, case) → what llama-server has and what we have, and why ours is right.
DIFFERENCES = {
    # Jinja's `length` counts characters and a slice cuts between them; llama-server takes bytes and sends half a "ß".
    ("filters", "unicode"): {"User: 65\n": "User: 53\n", "content=Gr\ufffd ": "content=Grü "},
}


@pytest.mark.parametrize("template", TEMPLATES)
async def test_renders_agree_with_llama_server(template: str) -> None:
    golden = json.loads((HERE / "goldens" / f"{template}.json").read_text(encoding="utf-8"))
    source = (HERE / f"{template}.jinja").read_text(encoding="utf-8")
    renderer = Renderer()
    try:
        for name, case in CASES.items():
            ours = await _ours(renderer, source, golden, case)
            theirs = golden["cases"][name].get("prompt")
            for wrong, right in DIFFERENCES.get((template, name), {}).items():
                assert wrong in theirs
                theirs = theirs.replace(wrong, right)
            assert ours == theirs, name
    finally:
        await renderer.close()


async def _ours(renderer: Renderer, source: str, golden: dict[str, Any], case: dict[str, Any]) -> str | None:
    """None: the template refuses."""
    try:
        return await renderer.render(
            source, messages=case["messages"], bos_token=golden["bos_token"], eos_token=golden["eos_token"],
            add_bos=golden["add_bos"], add_generation_prompt=case.get("add_generation_prompt", True),
            variables=case["chat_template_kwargs"])
    except PaddockError as error:
        if error.code is not Code.TEMPLATE_FAILED:
            raise
        return None


def test_the_goldens_are_worth_comparing_with() -> None:
    """Every template has every case, nearly all have a prompt, and some are refused."""
    goldens = [json.loads((HERE / "goldens" / f"{template}.json").read_text(encoding="utf-8"))["cases"]
               for template in TEMPLATES]
    assert len(goldens) >= 8
    assert all(golden.keys() == CASES.keys() for golden in goldens)
    prompts = [case["prompt"] for golden in goldens for case in golden.values() if "prompt" in case]
    assert len(CASES) * len(TEMPLATES) - len(prompts) in range(1, 5)
    assert len(set(prompts)) > 100
