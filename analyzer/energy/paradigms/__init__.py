"""When a spiking network takes less than a dense one, and on what that rests."""
