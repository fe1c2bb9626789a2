"""What a profile takes under a convention, a technology and perhaps a memory model."""
