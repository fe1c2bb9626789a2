"""What an energy is made of, why two differ, and how much each price matters."""
