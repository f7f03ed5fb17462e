"""The command line: one thin file a command, put together here. ``striate --help`` does not import torch."""

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from striate import __version__
from striate.cli.check import check
from striate.cli.convert import convert
from striate.cli.demo import demo
from striate.cli.evaluate import evaluate
from striate.cli.find_lr import find_lr
from striate.cli.inspect import inspect
from striate.cli.predict import predict
from striate.cli.prepare import prepare
from striate.cli.runs import runs
from striate.cli.say import say
from striate.cli.sweep import sweep
from striate.cli.train import train
from striate.core.errors import InputError

app = typer.Typer(
    name="striate",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for command in (demo, check, convert, prepare, find_lr, train, sweep, runs, evaluate, predict, inspect):
    app.command()(command)

# Usage errors are click's, which newer versions of typer carry inside them: found by name, both ways work.
_UsageError: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "UsageError")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def striate(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From a folder of labelled images or signals to a convolutional network you can trust.

    Example: [bold]striate train photos/ --out runs/photos[/bold]
    """


def main() -> None:
    """Run the command line; without any word, show its help.

    Bad input, bad options included, ends in one line on standard error and exit code 2, what only the machine is to
    blame for in 1, Ctrl-C in 130, SIGTERM in 143.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # names of files are any bytes
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="striate", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _fail(str(error), 2)
    except _UsageError as error:
        _fail(_usage(error), 2)
    except BrokenPipeError:  # whoever read our output has gone, as in `striate predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except _Terminated as stop:
        _fail("stopped by SIGTERM", int(stop.code or 0))
    except OSError as error:
        place = error.filename or "reading or writing"
        _fail(f"{place}: {error.strerror or error}; free space or correct the path, and run again", 1)
    except MemoryError:
        _fail("the memory is not enough; give a smaller --batch or --size", 1)
    if code == 130:  # what typer makes of Ctrl-C
        _fail("interrupted", 130)
    raise SystemExit(code if isinstance(code, int) else 0)


class _Terminated(SystemExit):
    """SIGTERM ends a command as Ctrl-C does: half-written files are removed on the way out."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(128 + number)


def _usage(error: Exception) -> str:
    """A usage error as one line: what is wrong, and where the options are told."""
    told = getattr(error, "format_message", error.__str__)()
    path = getattr(getattr(error, "ctx", None), "command_path", "striate")
    return f"{' '.join(told.split()).rstrip('.')}; see {path} --help"


def _fail(line: str, code: int) -> NoReturn:
    say(f"striate: {line}")
    raise SystemExit(code)
