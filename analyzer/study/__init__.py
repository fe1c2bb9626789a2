"""The studies that ``analyzer study`` runs: comparisons made with the reference networks.

``paradigms`` measures one network in four paradigms and ``rendering`` writes its page;
``published`` measures the published networks side by side; ``reproduction`` rebuilds published
energies from published figures. Nothing else in the package depends on them.
"""
