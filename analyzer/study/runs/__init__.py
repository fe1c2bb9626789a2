"""The study of trained runs: several seeds of each paradigm, profiled and compared.

``measure`` profiles the files of weights of a folder and writes the profiles, ``statistics`` says
which differences are real, ``series``, ``costs`` and ``twins`` make tables of them, ``figures``
draws them, ``findings`` and ``claims`` say in sentences what they show, and ``rendering`` writes
it all.
"""
