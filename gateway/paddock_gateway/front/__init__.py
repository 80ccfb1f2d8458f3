"""The HTTP server: connections, routes, bodies, answers."""
