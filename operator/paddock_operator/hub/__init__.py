"""A thin client of the Hugging Face API and of plain HTTP file servers, for hosts that strangers name."""

from paddock_operator.hub.budget import Budgets
from paddock_operator.hub.client import HubClient
from paddock_operator.hub.connect import Connector
from paddock_operator.hub.credentials import Credential

__all__ = ["Budgets", "Connector", "Credential", "HubClient"]
