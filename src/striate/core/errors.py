"""The one exception for bad input: it names the file, the cause and the fix in one line."""


class InputError(Exception):
    """Something the user gave cannot be used.

    ``where`` is the file, option or field at fault, ``cause`` what is wrong with it (what came, what was
    expected), ``fix`` what to do. The command line prints ``str(error)`` as one line and exits with code 2.
    """

    def __init__(self, where: object, cause: str, fix: str) -> None:
        super().__init__(where, cause, fix)
        self.where = str(where)
        self.cause = cause
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.where}: {self.cause}; {self.fix}"
        return " ".join(line.encode("utf-8", "backslashreplace").decode("utf-8").split())
