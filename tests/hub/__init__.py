"""An HTTP(S) file server for tests that can fail in every way a real one does, and says what it was asked."""

from tests.hub.behaviour import Behaviour
from tests.hub.server import Hub, Seen

__all__ = ["Behaviour", "Hub", "Seen"]
