"""From facts to energy, and the questions that are asked of energies.

A convention reads facts as accumulates and multiply-accumulates, a technology says what each of
them costs, and a memory model what moving operands and state costs. Constants and rules are data:
the ``.toml`` files in the folders here. Nothing here needs torch.
"""
