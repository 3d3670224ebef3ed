"""The half that batch and dataset couplings share: a name and options, written as a spec."""

from __future__ import annotations

from typing import Any, ClassVar

from couplings import plugins, spec
from couplings.errors import CouplingError, PluginError


class WithOptions:
    """A frozen dataclass whose fields are its options, and whose name is that of its module."""

    name: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # By the file, because that is the name that a spec finds the class by.
        cls.name = plugins.name_of(cls.__module__, *plugins.COUPLINGS)

    def __post_init__(self) -> None:
        try:
            spec.check_options(self)
        except PluginError as error:
            # A coupling built without a spec raises the same error as one built by `get`.
            raise CouplingError(str(error)) from None

    @property
    def spec(self) -> str:
        """The canonical spec: the name, and in field order the options that are not the default."""
        return spec.format_spec(self)

    def __str__(self) -> str:
        return self.spec
