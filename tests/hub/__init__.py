"""Servers for tests that can fail in every way real ones do, and say what they were asked.

`Hub`: plain files over HTTP(S), in the test's own loop. `Double`: the Hugging Face Hub, as huggingface_hub speaks it,
on the sockets of `running(double)` or as `python -m tests.hub ROOT`. Needs nothing but uvicorn.
"""

from tests.hub.app import Double
from tests.hub.behaviour import Behaviour
from tests.hub.repos import Repo
from tests.hub.running import running
from tests.hub.server import Hub, Seen

__all__ = ["Behaviour", "Double", "Hub", "Repo", "Seen", "running"]
