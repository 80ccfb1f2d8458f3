"""Model: from its spec to a revision, and from what pods report to its status. Deciders are pure."""
