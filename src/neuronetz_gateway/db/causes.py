"""Names what stands behind an error of the database, without the text of the driver."""

from sqlalchemy.exc import DBAPIError


def cause_of(error: BaseException | None) -> BaseException | None:
    """The driver's own error, where SQLAlchemy has wrapped one."""
    return (error.orig.__cause__ or error.orig) if isinstance(error, DBAPIError) and error.orig else error


def name_of(error: BaseException | None) -> str:
    """The driver's own name for an error: its text may hold more than is for everybody's eyes."""
    return type(cause_of(error)).__name__
