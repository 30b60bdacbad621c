"""Every error the packages raise on purpose.

LuabError                      catch this one to catch them all
├── ArchiveError  (ValueError) the container: truncated gzip, not a tar, not JSON
├── RecordError   (ValueError) one record of a log is bad; `on_bad` decides what happens
├── DatasetError  (ValueError) a dataset folder is missing, incomplete or not ours
├── ImagesError   (ValueError) an image folder, a box file or one image is not what was expected
├── OptionError   (ValueError) an option, a recipe or a combination of them makes no sense
└── OutputError   (OSError)    a target cannot be written: exists, read-only, disk full
    └── StoppedError           something outside stopped the work

A message says where, what was found, what was expected and what to do. It never holds a worker id.
"""

from __future__ import annotations


class LuabError(Exception):
    """Base of all errors of luab_data and luab_train."""


class ArchiveError(LuabError, ValueError):
    """The container of a log cannot be read to its end."""


class RecordError(LuabError, ValueError):
    """One record of a log is bad.

    Args:
        where: the record: a tar member's name, or `record 17 (image_id=42)`.
        rule: short name of what is wrong, the key of the tally, e.g. `xml-syntax`.
        reason: what was found and what was expected.
    """

    def __init__(self, where: str, rule: str, reason: str) -> None:
        super().__init__(f"{where}: {reason} [{rule}]")
        self.where = where
        self.rule = rule
        self.reason = reason

    def __reduce__(self) -> tuple[type[RecordError], tuple[str, str, str]]:
        return type(self), (self.where, self.rule, self.reason)


class DatasetError(LuabError, ValueError):
    """A dataset folder is missing, incomplete or was not written by luab."""


class ImagesError(LuabError, ValueError):
    """An image folder, a box file or an image is not what was expected."""


class OptionError(LuabError, ValueError):
    """An option, a recipe or a combination of them makes no sense."""


class OutputError(LuabError, OSError):
    """A target cannot be written."""


class StoppedError(OutputError):
    """Something outside stopped the work, a signal or a process that was killed.

    The same command begins anew, or goes on where what it does is saved on the way.
    """
