"""Who may use what: clients by API keys, pods by the token of their pool."""
