"""The one error of the lab."""


class LabError(Exception):
    """Something a person has to know; its text is all they get."""
