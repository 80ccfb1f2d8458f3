"""The operator as a real process, with a real API server behind a proxy that tells of its requests, and played pods."""
