"""What a command says of an error: one sentence and an exit code, no stack."""

from kdet.errors import first_line, short

FAULT_OF_KDET = 1
WRONG_INPUT = 2


def explain(error: BaseException) -> tuple[str, int]:
    """Return ``(sentence, exit code)`` for any error: 2 for what a user gave, 1 for a fault of kdet."""
    import tensorflow as tf

    from kdet.data import faults

    if isinstance(error, tf.errors.OpError):
        error = faults.original(error) or error
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"there is not enough memory or disk space: {first_line(error)}", WRONG_INPUT
    if isinstance(error, MemoryError):
        return "there is not enough memory.", WRONG_INPUT
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{short(str(error.filename))[1:-1]}: {error.strerror}.", WRONG_INPUT
    if isinstance(error, KeyError) and error.args:  # its text is not to be quoted
        return str(error.args[0]), WRONG_INPUT
    # what kdet checks itself, and what libraries say of files and arguments; all else is a fault of kdet
    if isinstance(
        error,
        (ValueError, OSError, ImportError, RuntimeError, ArithmeticError, LookupError, tf.errors.OpError),
    ):
        return str(error) or type(error).__name__, WRONG_INPUT
    text = f"an error that kdet does not explain: {type(error).__name__}: {first_line(error)}"
    return f"{text} (--debug shows where; please report it).", FAULT_OF_KDET
