"""The page of a report that prices its profiles anew: what is embedded in it, and its files.

Data flow one way: ``models`` and ``prices`` compute what a browser multiplies and adds, ``payload``
packs it, and ``document`` writes the page. The scripts in ``static/`` hold no rule of counting.
"""
