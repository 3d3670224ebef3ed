"""Names of plug-ins: the file of one of ours, the module's path of one of a user's."""

from __future__ import annotations

from typing import ClassVar


class Named:
    """Base of plug-ins: a subclass is named after the file that defines it.

    The class in ``models/samplers/euler_maruyama.py`` is ``euler-maruyama``; the one in a user's
    module ``my_project.midpoint`` has the module's whole path, which is also how it is asked for.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **options: object) -> None:
        """Set the name."""
        super().__init_subclass__(**options)
        package, _, file = cls.__module__.rpartition(".")
        # Only this repository's own files are short of a path: two users' files may share a name.
        ours = package.startswith("models.")
        cls.name = file.replace("_", "-") if ours else cls.__module__
