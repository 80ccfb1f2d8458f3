"""What the machine gives and what processes take of it: cores, memory, clocks."""
