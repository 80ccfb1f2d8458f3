"""The operator: reconciles Models, RuntimePools and ModelHubs."""
