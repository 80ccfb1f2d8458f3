"""Which Models will be asked soon, by how it went before. Pure: time and requests are told to it."""
