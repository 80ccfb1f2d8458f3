"""What the gateway knows: Models, pools, pods and what they have in memory; and the choice among them."""
