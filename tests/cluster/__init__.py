"""A real Kubernetes for tests: compiled from Go modules, run as plain processes. See docs/development.md."""
