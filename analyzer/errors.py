"""The one error family: every refusal is a sentence that says what, where and what to do."""

__all__ = ["AnalyzerError", "AnalyzerWarning"]


class AnalyzerError(Exception):
    """Work that could not be done; the message is meant for the user as it stands."""


class AnalyzerWarning(UserWarning):
    """Something the user should know about a figure that was produced all the same."""
