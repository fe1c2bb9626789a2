"""From facts to energy: technologies, conventions, prices. Knows no torch."""
