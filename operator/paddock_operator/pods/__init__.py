"""What the runtime pods say of themselves: their event streams followed, and held as one view a pod."""
