"""Update equations of spiking neurons, one module a library, written in numbers that count."""
