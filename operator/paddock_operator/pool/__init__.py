"""RuntimePool: its objects, its configuration, and which pods keep which Models loaded. Deciders are pure."""
