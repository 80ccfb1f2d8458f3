"""Chat templates in the shapes of well-known ones, and what llama-server makes of them (`goldens/`, see `record`)."""
