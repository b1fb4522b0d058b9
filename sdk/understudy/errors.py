"""One family of errors for everything a user can get wrong.

A message names the thing, what was found, what was wanted and what to do. The command line prints it as one line and
exits with 2; a node refuses to configure; a bad frame is counted and reported.
"""


class UnderstudyError(Exception):
    """A mistake in what was given, not a bug in the code.

    Args:
        what: the thing that is wrong, with its file or field.
        found: what was found there.
        wanted: what was expected.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, found: object = None, wanted: object = None, remedy: str = "") -> None:
        self.what = what
        self.found = found
        self.wanted = wanted
        self.remedy = remedy
        super().__init__(_one_line(what, found, wanted, remedy))


class InputError(UnderstudyError):
    """A file, folder or argument that is missing, unreadable or malformed."""


class MissingSplit(InputError):  # noqa: N818
    """A split that a data set does not have; nothing else is wrong with it."""


class FrameError(UnderstudyError):
    """One frame of sensor data that cannot be used; the stream goes on without it."""


class GeometryError(UnderstudyError):
    """Rig, range, frame or unit that does not fit; never guessed, always refused."""


class RecipeError(UnderstudyError):
    """A recipe with an unknown key or a value outside its range."""


class BundleError(UnderstudyError):
    """A bundle that is damaged, of another schema, or does not fit what it is asked to do."""


class EngineError(UnderstudyError):
    """An engine that is missing, cannot be built or refuses its inputs."""


class BagError(UnderstudyError):
    """A bag that is missing, truncated or holds something unexpected."""


def _one_line(what: str, found: object, wanted: object, remedy: str) -> str:
    details = [f"found {found}"] if found is not None else []
    details += [f"wanted {wanted}"] if wanted is not None else []
    text = f"{what}: {', '.join(details)}" if details else what
    text = f"{text}; {remedy}" if remedy else text
    return " ".join(text.split())
