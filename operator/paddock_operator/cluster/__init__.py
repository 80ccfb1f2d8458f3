"""All that is said to the Kubernetes API server."""
