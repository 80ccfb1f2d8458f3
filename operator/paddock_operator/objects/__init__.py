"""Pure builders of what the operator writes, and whether what is there differs from it."""
