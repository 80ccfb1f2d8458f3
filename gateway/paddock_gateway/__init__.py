"""The gateway: the OpenAI endpoint in front of all runtime pods."""
