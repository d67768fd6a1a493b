"""Errors of queries, in the Log Service's own words. Raised by `store.logs.query`; `sls` adds the codes."""

from typing import Literal

from sesame.model.errors import Rejected

# The part of a query that is wrong: the search before the bar, the SQL after it, or the limits of both.
Part = Literal["search", "sql", "limits"]

SQL_WITHOUT_SEARCH = "sql query must follow search query,please read syntex doc"


class QueryRefused(Rejected):
    """The query cannot be answered. The message is the Log Service's."""

    def __init__(self, message: str, part: Part = "search") -> None:
        super().__init__(message)
        self.message = message
        self.part = part


def field_without_index(name: str) -> QueryRefused:
    return QueryRefused(
        f'key ({name}) is not config as key value config,if symbol : is in your log,please wrap : with quotation mark "'
    )


def unresolved_column(name: str, where: str = "") -> QueryRefused:
    return QueryRefused(
        f"{where}Column '{name}' cannot be resolved;please add the column in the index attribute", "sql"
    )


def ungrouped_column(name: str) -> QueryRefused:
    return QueryRefused(f"Column '{name}' not in GROUP BY clause;please add the column in the index attribute", "sql")


def sql_error(detail: str) -> QueryRefused:
    return QueryRefused(
        "please read syntax document,and make sure all related fields are indexed. error after select "
        f".error detail:{detail}",
        "sql",
    )


def search_error(detail: str) -> QueryRefused:
    return QueryRefused(f"the search is invalid: {detail};please read syntex doc")


def too_much_memory(limit_mb: int) -> QueryRefused:
    size = f"{limit_mb // 1024}GB" if limit_mb % 1024 == 0 else f"{limit_mb}MB"
    return QueryRefused(f"Query exceeded max memory size of {size}", "limits")


def too_large(limit_bytes: int) -> QueryRefused:
    return QueryRefused(f"Query exceeded max result size of {limit_bytes} bytes", "limits")


def ended_abnormally(how: str) -> QueryRefused:
    """The process that answered the query has ended, which only a query can cause."""
    return QueryRefused(f"Query ended abnormally ({how}): make it simpler, or its time shorter", "limits")


def too_long(limit_s: float) -> QueryRefused:
    return QueryRefused(f"Query exceeded maximum time limit of {limit_s:.2f}s", "limits")
