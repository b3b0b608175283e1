"""The error tree: every error that leaves the library, each also the built-in that a caller would guess.

::

    DatastackError
    ├── ResourceNotFoundError      (FileNotFoundError)   nothing is stored under that identifier
    ├── ResourceExistsError        (FileExistsError)     written with overwrite=False, and it is there
    ├── ResourceConflictError      (OSError)             "a" and "a/b" can't both exist in this store
    ├── ResourceChangedError       (OSError)             replaced or deleted since it was opened
    ├── ReadOnlyStorageError       (PermissionError)     the store, or the profile, can't be written
    ├── StoragePermissionError     (PermissionError)     the store refuses these credentials
    ├── StorageUnavailableError    (ConnectionError)     no answer within the deadline; trying again may help
    ├── StorageFullError           (OSError)             no room, or over the quota
    ├── UnsupportedStorageError    (io.UnsupportedOperation)  this store can't do that safely
    ├── DatasetFileCorruptError    (ValueError)          the bytes are not those that were promised
    ├── RetrievalError             (OSError)             a source could not be fetched
    ├── MaliciousFilePathError     (ValueError)          an identifier that tries to leave its store
    ├── MalformedIdentifierError   (ValueError)          an identifier outside the grammar
    ├── ConfigError                (ValueError)          the configuration file, a profile or an option
    ├── UnknownPluginError         (LookupError)         no such scheme, format or profile
    ├── MissingDependencyError     (ImportError)         names the extra to install
    └── DatasetNotFoundError       (LookupError)         no dataset of that name, or no such split

All of them pickle, so that they travel from worker processes; the error of the layer below is kept as
``__cause__``. ``ValueError`` and ``TypeError`` are raised for misuse of a call, as Python does.
"""

import io


class DatastackError(Exception):
    """Any error of this library.

    Examples:
        >>> try:
        ...     raise ResourceNotFoundError("birds.h5 is not in file:///data")
        ... except DatastackError as error:
        ...     print(error)
        birds.h5 is not in file:///data
    """

    def __str__(self) -> str:
        # LookupError's str() would show the repr of the message, OSError's two-argument form an errno.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class ResourceNotFoundError(DatastackError, FileNotFoundError):
    """Nothing is stored under that identifier."""


class ResourceExistsError(DatastackError, FileExistsError):
    """A resource is there already, and ``overwrite=False`` was asked for."""


class ResourceConflictError(DatastackError, OSError):
    """The store can't hold both a resource and a folder of that name."""


class ResourceChangedError(DatastackError, OSError):
    """The resource was replaced, changed or deleted since it was opened."""


class ReadOnlyStorageError(DatastackError, PermissionError):
    """The store can only be read: by its kind, or by its profile."""


class StoragePermissionError(DatastackError, PermissionError):
    """The store refuses these credentials, or refuses this to them."""


class StorageUnavailableError(DatastackError, ConnectionError):
    """The store did not answer within the deadline; trying again later may help."""


class StorageFullError(DatastackError, OSError):
    """The store, or the disk that a write is staged on, has no room."""


class UnsupportedStorageError(DatastackError, io.UnsupportedOperation):
    """The store has no safe way to do what was asked."""


class DatasetFileCorruptError(DatastackError, ValueError):
    """The bytes are not those that a checksum, a size or a format promised."""


class RetrievalError(DatastackError, OSError):
    """A source of a dataset could not be fetched."""


class MaliciousFilePathError(DatastackError, ValueError):
    """An identifier, archive member or link tries to leave its store."""


class MalformedIdentifierError(DatastackError, ValueError):
    """An identifier is outside the grammar that all stores share."""


class ConfigError(DatastackError, ValueError):
    """A configuration file, a profile or an option is wrong; the message names file and key."""


class UnknownPluginError(DatastackError, LookupError):
    """No connector, format or profile of that name; the message lists the known ones."""


class MissingDependencyError(DatastackError, ImportError):
    """A package of an extra is not installed; the message says what to install."""


class DatasetNotFoundError(DatastackError, LookupError):
    """No dataset of that name, or it has no such split."""
