"""The functions that SQL may call, and their equivalents in DuckDB. All others are refused.

Called by `sql` with each call and its arguments. A table maps each name to its number of arguments,
and to the equivalent DuckDB function or macro of `macros`. A few calls depend on their literals.
"""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from sesame.store.logs.query.macros import ZONE
from sesame.store.logs.query.refusals import QueryRefused, sql_error

MANY = 1_000
AGGREGATES = frozenset(
    {
        "count", "sum", "avg", "min", "max", "count_if", "approx_distinct", "approx_percentile", "max_by", "min_by",
        "arbitrary", "geometric_mean", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp",
        "corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept", "skewness", "kurtosis", "bool_and",
        "bool_or", "every", "bitwise_and_agg", "bitwise_or_agg", "array_agg", "histogram",
    }
)  # fmt: skip

# name of the Log Service: (fewest arguments, most arguments, name in DuckDB)
_Target = tuple[int, int, str]


def _same(names: str, fewest: int, most: int) -> dict[str, _Target]:
    return {each: (fewest, most, each) for each in names.split()}


FUNCTIONS: dict[str, _Target] = {
    # aggregates
    **_same("sum avg min max count_if geometric_mean stddev stddev_pop stddev_samp variance var_pop var_samp "
            "skewness kurtosis bool_and bool_or array_agg histogram", 1, 1),
    **_same("corr covar_pop covar_samp regr_slope regr_intercept", 2, 2),
    **_same("max_by min_by", 2, 3),
    "count": (0, 1, "count"), "every": (1, 1, "bool_and"), "arbitrary": (1, 1, "any_value"),
    "approx_distinct": (1, 2, "sls_distinct"), "approx_percentile": (2, 2, "sls_percentile"),
    "bitwise_and_agg": (1, 1, "bit_and"), "bitwise_or_agg": (1, 1, "bit_or"),
    # windows
    **_same("row_number rank dense_rank percent_rank cume_dist", 0, 0), **_same("ntile first_value last_value", 1, 1),
    **_same("lag lead", 1, 3), **_same("nth_value", 2, 2),
    # numbers
    **_same("abs cbrt ceil ceiling cos acos asin atan degrees exp floor ln log2 log10 radians sign sin sqrt tan", 1, 1),
    **_same("pow power atan2 mod log", 2, 2), **_same("pi", 0, 0), **_same("round", 1, 2),
    **_same("greatest least", 1, MANY), **_same("coalesce", 1, MANY), **_same("nullif", 2, 2), **_same("try", 1, 1),
    "truncate": (1, 1, "trunc"), "rand": (0, 0, "random"), "random": (0, 0, "random"), "is_nan": (1, 1, "isnan"),
    "bitwise_and": (2, 2, "sls_bit_and"), "bitwise_or": (2, 2, "sls_bit_or"), "bitwise_xor": (2, 2, "sls_bit_xor"),
    "bitwise_not": (1, 1, "sls_bit_not"), "bit_count": (1, 1, "bit_count"),
    # texts
    **_same("lower upper length reverse trim ltrim rtrim chr", 1, 1), **_same("strpos starts_with", 2, 2),
    "lpad": (3, 3, "sls_lpad"), "rpad": (3, 3, "sls_rpad"),
    **_same("translate", 3, 3), **_same("substr", 2, 3), **_same("url_encode url_decode", 1, 1),
    "codepoint": (1, 1, "unicode"), "replace": (2, 3, "sls_replace"), "split": (2, 3, "sls_split"),
    "split_part": (3, 3, "sls_split_part"), "split_to_map": (3, 3, "sls_split_to_map"),
    "levenshtein_distance": (2, 2, "sls_levenshtein"), "hamming_distance": (2, 2, "hamming"),
    "regexp_like": (2, 2, "regexp_matches"), "regexp_extract": (2, 3, "sls_regexp_extract"),
    "regexp_extract_all": (2, 3, "regexp_extract_all"), "regexp_replace": (2, 3, "sls_regexp_replace"),
    "regexp_split": (2, 2, "string_split_regex"), "regexp_count": (2, 2, "sls_regexp_count"),
    "url_extract_protocol": (1, 1, "sls_url_protocol"), "url_extract_host": (1, 1, "sls_url_host"),
    "url_extract_port": (1, 1, "sls_url_port"), "url_extract_path": (1, 1, "sls_url_path"),
    "url_extract_query": (1, 1, "sls_url_query"), "url_extract_fragment": (1, 1, "sls_url_fragment"),
    "url_extract_parameter": (2, 2, "sls_url_parameter"),
    "to_utf8": (1, 1, "encode"), "from_utf8": (1, 1, "decode"), "to_hex": (1, 1, "sls_to_hex"),
    "from_hex": (1, 1, "unhex"), "to_base64": (1, 1, "base64"), "from_base64": (1, 1, "from_base64"),
    "md5": (1, 1, "sls_md5"), "sha1": (1, 1, "sls_sha1"), "sha256": (1, 1, "sls_sha256"),
    # JSON
    "json_parse": (1, 1, "sls_json_parse"), "json_format": (1, 1, "sls_json_format"),
    "json_extract": (2, 2, "sls_json_extract"), "json_extract_scalar": (2, 2, "sls_json_scalar"),
    "json_array_length": (1, 1, "sls_json_length"), "json_array_contains": (2, 2, "sls_json_contains"),
    "json_array_get": (2, 2, "sls_json_get"), "json_size": (2, 2, "sls_json_size"),
    # arrays and maps
    "contains": (2, 2, "list_contains"), "cardinality": (1, 1, "len"), "element_at": (2, 2, "sls_element"),
    "array_distinct": (1, 1, "list_distinct"), "array_join": (2, 2, "array_to_string"), "array_max": (1, 1, "list_max"),
    "array_min": (1, 1, "list_min"), "array_sort": (1, 1, "list_sort"), "array_position": (2, 2, "sls_position"),
    "array_remove": (2, 2, "sls_remove"), "array_union": (2, 2, "sls_union"), "array_except": (2, 2, "sls_except"),
    "array_intersect": (2, 2, "list_intersect"), "slice": (3, 3, "sls_slice"), "sequence": (2, 3, "sls_sequence"),
    "filter": (2, 2, "list_filter"), "transform": (2, 2, "list_transform"), "flatten": (1, 1, "flatten"),
    "map": (2, 2, "map"), "map_keys": (1, 1, "map_keys"), "map_values": (1, 1, "map_values"),
    # times
    "from_unixtime": (1, 2, "sls_from_unixtime"), "to_unixtime": (1, 1, "sls_to_unixtime"), "date": (1, 1, "sls_date"),
    "from_iso8601_timestamp": (1, 1, "sls_iso_time"), "from_iso8601_date": (1, 1, "sls_iso_date"),
    # addresses
    "ip_to_domain": (1, 1, "sls_ip_domain"), "ip_prefix": (2, 2, "sls_ip_prefix"),
    "ip_subnet_min": (1, 1, "sls_subnet_min"), "ip_subnet_max": (1, 1, "sls_subnet_max"),
    "ip_subnet_range": (1, 1, "sls_subnet_range"), "is_subnet_of": (2, 2, "sls_is_subnet"),
    "is_prefix_subnet_of": (2, 2, "sls_is_subnet"),
}  # fmt: skip

# Parts of a time: name of the Log Service: name in DuckDB.
_PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "week": "week", "week_of_year": "week", "day": "day",
    "day_of_month": "day", "day_of_week": "isodow", "dow": "isodow", "day_of_year": "doy", "doy": "doy",
    "hour": "hour", "minute": "minute", "second": "second", "year_of_week": "isoyear",
}  # fmt: skip
_UNITS = {
    "millisecond": "to_milliseconds", "second": "to_seconds", "minute": "to_minutes", "hour": "to_hours",
    "day": "to_days", "week": "to_weeks", "month": "to_months", "quarter": "to_months", "year": "to_years",
}  # fmt: skip
_TRUNCATED_TO = frozenset(_UNITS) - {"millisecond"}
# MySQL's letters of `date_format`: strftime's.
_FORMAT = {
    "a": "%a", "b": "%b", "c": "%-m", "d": "%d", "e": "%-d", "f": "%f", "H": "%H", "h": "%I", "I": "%I", "i": "%M",
    "j": "%j", "k": "%-H", "l": "%-I", "M": "%B", "m": "%m", "p": "%p", "r": "%I:%M:%S %p", "S": "%S", "s": "%S",
    "T": "%H:%M:%S", "v": "%V", "W": "%A", "w": "%w", "Y": "%Y", "y": "%y", "%": "%%",
}  # fmt: skip
# Functions that cannot be answered locally: they need data of the cloud, or models.
_ELSEWHERE = ("ip_to_", "geohash", "ts_", "compare", "security_check_", "numeric_histogram", "pattern_", "predict_")

# Trees of sqlglot, whose types differ between the versions that are supported.
Arguments = list[Any]


def call(name: str, *arguments: Any) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


def translate(name: str, arguments: Arguments) -> exp.Expression:
    """The call in DuckDB. Raises `QueryRefused` for an unknown function or unsuitable arguments."""
    name = name.lower()
    if special := _SPECIAL.get(name):
        _check_count(name, arguments, special[0], special[1])
        return special[2](arguments)
    if name in _PARTS:
        _check_count(name, arguments, 1, 1)
        return part_of_time(name, arguments[0])
    if name not in FUNCTIONS:
        why = "cannot be computed outside the cloud" if any(map(name.startswith, _ELSEWHERE)) else "not registered"
        raise QueryRefused(f"Function {name} {why}", "sql")
    fewest, most, target = FUNCTIONS[name]
    _check_count(name, arguments, fewest, most)
    return call(target, *arguments)


def _check_count(name: str, arguments: Arguments, fewest: int, most: int) -> None:
    if not fewest <= len(arguments) <= most:
        expected = str(fewest) if fewest == most else f"{fewest} to {most}" if most < MANY else f"at least {fewest}"
        raise sql_error(f"Unexpected parameters for function {name}: expected {expected}, found {len(arguments)}")


def part_of_time(part: str, time: exp.Expression) -> exp.Expression:
    if part.lower() not in _PARTS:
        raise sql_error(f"'{part}' is no part of a time: expected {', '.join(sorted(_PARTS))}")
    return call("date_part", exp.Literal.string(_PARTS[part.lower()]), time_of(time))


def time_of(value: exp.Expression) -> exp.Expression:
    """The value as a time. A value known to be a time or Unix seconds needs no slow check of its type."""
    known = isinstance(value, exp.Anonymous) and value.name in ("sls_from_unixtime", "date_trunc", "strptime")
    if known or (isinstance(value, exp.Cast) and value.is_type("timestamp")):
        return value
    columns = list(value.find_all(exp.Column))
    if columns and all(each.name == "__time__" for each in columns) and not value.find(exp.Anonymous):
        return call("sls_from_unixtime", value)
    return call("sls_time", value)


def text_literal(value: exp.Expression, what: str) -> str:
    if not isinstance(value, exp.Literal) or not value.is_string:
        raise sql_error(f"{what} must be a text in single quotation marks, found {value.sql('presto')}")
    return str(value.this)


def strftime_format(text: str) -> str:
    """Converts MySQL's time format to strftime's. Raises `QueryRefused` if that is not possible."""
    out, letters = [], iter(text)
    for letter in letters:
        if letter != "%":
            out.append(letter)
            continue
        letter = next(letters, "")
        if letter not in _FORMAT:
            raise sql_error(f"Invalid format: '%{letter}' is not supported in '{text}'")
        out.append(_FORMAT[letter])
    return "".join(out)


def _format_argument(value: exp.Expression) -> exp.Expression:
    return exp.Literal.string(strftime_format(text_literal(value, "the format of a time")))


def _unit(value: exp.Expression, units: frozenset[str] = frozenset(_UNITS)) -> str:
    unit = text_literal(value, "the unit of a time").lower()
    if unit not in units:
        raise sql_error(f"'{unit}' is not a valid Timestamp field")
    return unit


def _date_trunc(arguments: Arguments) -> exp.Expression:
    unit = exp.Literal.string(_unit(arguments[0], _TRUNCATED_TO))
    return call("date_trunc", unit, time_of(arguments[1]))


def _date_add(arguments: Arguments) -> exp.Expression:
    unit = _unit(arguments[0])
    count = exp.cast(arguments[1], "int")
    interval = call(_UNITS[unit], exp.Mul(this=count, expression=exp.Literal.number(3)) if unit == "quarter" else count)
    return exp.Paren(this=exp.Add(this=time_of(arguments[2]), expression=interval))


def _date_diff(arguments: Arguments) -> exp.Expression:
    return call("date_sub", exp.Literal.string(_unit(arguments[0])), time_of(arguments[1]), time_of(arguments[2]))


def _concat(arguments: Arguments) -> exp.Expression:
    """Uses `||`, because NULL must make the result NULL."""
    joined = arguments[0]
    for each in arguments[1:]:
        joined = exp.DPipe(this=joined, expression=each)
    return exp.Paren(this=joined)


_SPECIAL: dict[str, tuple[int, int, Callable[[Arguments], exp.Expression]]] = {
    "concat": (1, MANY, _concat),
    "date_add": (3, 3, _date_add),
    "date_diff": (3, 3, _date_diff),
    "date_trunc": (2, 2, _date_trunc),
    "date_format": (2, 2, lambda args: call("strftime", time_of(args[0]), _format_argument(args[1]))),
    "date_parse": (2, 2, lambda args: call("strptime", args[0], _format_argument(args[1]))),
    "current_timezone": (0, 0, lambda _args: exp.Literal.string(ZONE)),
}
