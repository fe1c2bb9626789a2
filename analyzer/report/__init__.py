"""Renders profiles as pages, figures and tables; imports no torch.

``page`` writes the report of ``analyzer report``, ``answers`` the page of one question about
energies. :mod:`analyzer.plot` draws the figures of both.
"""
