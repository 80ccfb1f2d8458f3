"""Chat templates, rendered in worker processes under limits.

Nothing is imported here until it is asked for: the worker passes through this package too and must start quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paddock_runtime.render.renderer import Renderer

__all__ = ["Renderer"]


def __getattr__(name: str) -> Any:
    if name == "Renderer":
        from paddock_runtime.render.renderer import Renderer

        return Renderer
    raise AttributeError(name)
