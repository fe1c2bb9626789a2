"""Renders profiles as pages, figures and tables; imports no torch.

``page`` writes the report of ``analyzer report``. ``waterfall``, ``tornado``, ``against_timesteps``
and ``memory_comparison`` each write the page of one question about energies.
"""
