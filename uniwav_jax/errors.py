"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Bad input: the message is one line that names the file, field or shape and what to do.

    `main` and the tools print it without a traceback and exit with status 2.
    """
