"""Energy cards: what an energy is a figure of, on one page a model, and an archive that checks.

A card says what was counted on which data, what is charged and what is not, where prices come from,
and how to compute it again. ``content`` makes a card as sections of rows, which know no format;
``markdown``, ``latex`` and ``html`` write them; ``writing`` makes the folder and the archive, and
``check`` makes both again.
"""
