"""What a measurement stores: records that add up, the tables made of them, and their file.

Nothing here runs a model, needs torch, or knows what an operation costs.
"""
