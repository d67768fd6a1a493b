"""DuckDB macros for the Log Service's SQL functions that have no equivalent DuckDB function.

`functions` refers to them; `engine` defines those that a query uses, and those they depend on. A macro may have several
forms, for different numbers of arguments. Regular expressions are RE2's, which match in linear time.
"""

import re

# The cloud's time zone in China, as in the manual's examples: without daylight saving, a constant offset is enough.
ZONE = "Asia/Shanghai"
ZONE_OFFSET_S = 8 * 3600
_OFFSET_US = ZONE_OFFSET_S * 1_000_000

# DuckDB cannot interrupt the computation of one value, nor count it towards the memory limit: these limit it instead.
SEQUENCE_MAX = 10_000
PADDED_CHARS_MAX = 10_000
COMPARED_CHARS_MAX = 1_000_000
_TOO_LONG = f"error('result of sequence function must not have more than {SEQUENCE_MAX} entries')"
_PADDED = (
    f"CAST(CASE WHEN n < 0 OR n > {PADDED_CHARS_MAX} "
    f"THEN error('Target length must be in the range [0..{PADDED_CHARS_MAX}]') ELSE n END AS INTEGER)"
)

MACROS: dict[str, tuple[str, ...]] = {
    # Times are local times of ZONE without a zone. A number is Unix seconds; a text is a time as written.
    "sls_from_unixtime": (
        f"(s) AS make_timestamp(CAST(CAST(s AS BIGINT) * 1000000 + (s - CAST(s AS BIGINT)) * 1000000 AS BIGINT) "
        f"+ {_OFFSET_US})",
        "(s, zone) AS timezone(zone, to_timestamp(s))",
    ),
    "sls_time": (
        "(x) AS CASE WHEN typeof(x) IN ('BIGINT', 'INTEGER', 'HUGEINT', 'DOUBLE') "
        "THEN sls_from_unixtime(CAST(CAST(x AS VARCHAR) AS DOUBLE)) "
        f"ELSE CAST(regexp_replace(CAST(x AS VARCHAR), ' {ZONE}$', '') AS TIMESTAMP) END",
    ),
    "sls_to_unixtime": (f"(t) AS epoch(sls_time(t)) - {ZONE_OFFSET_S}",),
    "sls_date": ("(x) AS CAST(sls_time(x) AS DATE)",),
    "sls_iso_time": (
        "(s) AS CASE WHEN regexp_matches(s, '(Z|[+-][0-9]{2}:?[0-9]{2})$') "
        f"THEN timezone('{ZONE}', CAST(s AS TIMESTAMPTZ)) ELSE CAST(s AS TIMESTAMP) END",
    ),
    "sls_iso_date": ("(s) AS CAST(s AS DATE)",),
    "sls_zoned": ("(t, zone) AS strftime(t, '%Y-%m-%d %H:%M:%S.%g') || ' ' || zone",),
    # Conversions that the cloud refuses or rounds differently.
    "sls_bigint": (
        "(x) AS CASE WHEN typeof(x) IN ('VARCHAR', 'JSON') THEN CASE WHEN regexp_full_match(CAST(x AS VARCHAR), "
        "'[-+]?[0-9]+') THEN CAST(CAST(x AS VARCHAR) AS BIGINT) ELSE CAST(error('Cannot cast ''' || CAST(x AS VARCHAR) "
        "|| ''' to BIGINT') AS BIGINT) END WHEN typeof(x) IN ('DOUBLE', 'FLOAT') "
        "THEN CAST(round(TRY_CAST(x AS DOUBLE)) AS BIGINT) ELSE CAST(x AS BIGINT) END",
    ),
    "sls_try_bigint": (
        "(x) AS CASE WHEN typeof(x) IN ('VARCHAR', 'JSON') THEN CASE WHEN regexp_full_match(CAST(x AS VARCHAR), "
        "'[-+]?[0-9]+') THEN TRY_CAST(CAST(x AS VARCHAR) AS BIGINT) END WHEN typeof(x) IN ('DOUBLE', 'FLOAT') "
        "THEN TRY_CAST(round(TRY_CAST(x AS DOUBLE)) AS BIGINT) ELSE TRY_CAST(x AS BIGINT) END",),
    # Texts.
    "sls_lpad": (f"(s, n, p) AS lpad(s, {_PADDED}, p)",),
    "sls_rpad": (f"(s, n, p) AS rpad(s, {_PADDED}, p)",),
    "sls_levenshtein": (
        f"(a, b) AS levenshtein(a, CASE WHEN length(a) * length(b) > {COMPARED_CHARS_MAX} "
        "THEN error('The combined inputs for Levenshtein distance are too large') ELSE b END)",
    ),
    "sls_replace": ("(s, old) AS replace(s, old, '')", "(s, old, new) AS replace(s, old, new)"),
    "sls_split": (
        "(s, sep) AS string_split(s, sep)",
        "(s, sep, n) AS CASE WHEN len(string_split(s, sep)) <= n THEN string_split(s, sep) ELSE list_append("
        "string_split(s, sep)[:n - 1], array_to_string(string_split(s, sep)[n:], sep)) "
        "END",
    ),
    "sls_split_part": ("(s, sep, n) AS CASE WHEN n <= len(string_split(s, sep)) THEN split_part(s, sep, n) END",),
    "sls_split_to_map": (
        "(s, sep, inner_sep) AS map_from_entries(list_transform(string_split(s, sep), lambda e: struct_pack("
        "k := split_part(e, inner_sep, 1), v := substr(e, strpos(e, inner_sep) + length(inner_sep)))))",
    ),
    "sls_regexp_extract": (
        "(s, p) AS CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p) END",
        "(s, p, n) AS CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p, n) END",
    ),
    "sls_regexp_replace": (
        "(s, p) AS regexp_replace(s, p, '', 'g')",
        r"(s, p, r) AS regexp_replace(s, p, regexp_replace(r, '\$([0-9])', '\\\1', 'g'), 'g')",
    ),
    "sls_regexp_count": ("(s, p) AS len(regexp_extract_all(s, p))",),
    "sls_md5": ("(b) AS unhex(md5(b))",),
    "sls_sha1": ("(b) AS unhex(sha1(b))",),
    "sls_sha256": ("(b) AS unhex(sha256(b))",),
    "sls_to_hex": ("(b) AS upper(hex(b))",),
    # URLs, parsed as in RFC 3986: (scheme, authority, path, query, fragment).
    "sls_url_part": (
        r"(u, n) AS regexp_extract(u, '^(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?"
        r"(?:#(.*))?$', n)",
    ),
    "sls_url_protocol": ("(u) AS sls_url_part(u, 1)",),
    "sls_url_host": (r"(u) AS regexp_extract(sls_url_part(u, 2), '^(?:[^@]*@)?([^:]*)', 1)",),
    "sls_url_port": (r"(u) AS TRY_CAST(regexp_extract(sls_url_part(u, 2), ':([0-9]+)$', 1) AS BIGINT)",),
    "sls_url_path": ("(u) AS sls_url_part(u, 3)",),
    "sls_url_query": ("(u) AS sls_url_part(u, 4)",),
    "sls_url_fragment": ("(u) AS sls_url_part(u, 5)",),
    "sls_url_parameter": (
        "(u, k) AS list_extract(list_transform(list_filter(string_split(sls_url_part(u, 4), '&'), "
        "lambda e: split_part(e, '=', 1) = k), lambda e: url_decode(substr(e, length(k) + 2))), 1)",
    ),
    # JSON: a text that is not JSON gives NULL.
    "sls_json_extract": ("(j, p) AS CASE WHEN json_valid(j) THEN json_extract(j, p) END",),
    "sls_json_scalar": (
        "(j, p) AS CASE WHEN json_valid(j) AND json_type(j, p) NOT IN ('OBJECT', 'ARRAY', 'NULL') "
        "THEN json_extract_string(j, p) END",
    ),
    "sls_json_parse": ("(s) AS CAST(s AS JSON)",),
    "sls_json_format": ("(j) AS CAST(json(j) AS VARCHAR)",),
    "sls_json_length": ("(j) AS CASE WHEN json_valid(j) AND json_type(j) = 'ARRAY' THEN json_array_length(j) END",),
    "sls_json_contains": (
        "(j, v) AS CASE WHEN json_valid(j) THEN list_contains(list_transform(json_extract(j, '$[*]'), "
        "lambda e: CAST(e AS VARCHAR)), CAST(to_json(v) AS VARCHAR)) END",
    ),
    "sls_json_get": (
        "(j, i) AS CASE WHEN json_valid(j) THEN json_extract_string(j, "
        "CASE WHEN i < 0 THEN '$[#' || i || ']' ELSE '$[' || i || ']' END) END",
    ),
    "sls_json_size": (
        "(j, p) AS CASE WHEN NOT json_valid(j) THEN NULL WHEN json_type(j, p) = 'ARRAY' THEN json_array_length(j, p) "
        "WHEN json_type(j, p) = 'OBJECT' THEN len(json_keys(j, p)) WHEN json_type(j, p) IS NOT NULL THEN 0 END",
    ),
    # Numbers.
    "sls_bit_and": ("(a, b) AS a & b",),
    "sls_bit_or": ("(a, b) AS a | b",),
    "sls_bit_xor": ("(a, b) AS xor(a, b)",),
    "sls_bit_not": ("(a) AS ~a",),
    "sls_percentile": ("(x, p) AS quantile_disc(x, p)",),
    "sls_distinct": ("(x) AS count(DISTINCT x)", "(x, error) AS count(DISTINCT x)"),
    # Arrays.
    "sls_sequence": (
        f"(a, b) AS generate_series(a, CASE WHEN abs(b - a) >= {SEQUENCE_MAX} THEN {_TOO_LONG} ELSE b END, "
        "CASE WHEN b < a THEN -1 ELSE 1 END)",
        f"(a, b, step) AS generate_series(a, CASE WHEN CASE WHEN step > step * 0 THEN b >= a + step * {SEQUENCE_MAX} "
        f"ELSE b <= a + step * {SEQUENCE_MAX} END THEN {_TOO_LONG} ELSE b END, step)",
    ),
    "sls_element": ("(a, i) AS a[i]",),
    "sls_slice": ("(a, first, n) AS list_slice(a, first, first + n - 1)",),
    "sls_position": ("(a, x) AS coalesce(list_position(a, x), 0)",),
    "sls_remove": ("(a, x) AS list_filter(a, lambda e: e IS DISTINCT FROM x)",),
    "sls_union": ("(a, b) AS list_distinct(list_concat(a, b))",),
    "sls_except": ("(a, b) AS list_filter(list_distinct(a), lambda e: NOT list_contains(b, e))",),
    # IPv4 addresses as numbers.
    "sls_is_ip": (r"(a) AS regexp_full_match(a, '[0-9]{1,3}(\.[0-9]{1,3}){3}')",),
    "sls_ip_number": (
        "(a) AS CASE WHEN sls_is_ip(a) THEN CAST(split_part(a, '.', 1) AS BIGINT) * 16777216 "
        "+ CAST(split_part(a, '.', 2) AS BIGINT) * 65536 + CAST(split_part(a, '.', 3) AS BIGINT) * 256 "
        "+ CAST(split_part(a, '.', 4) AS BIGINT) END",
    ),
    "sls_ip_text": ("(n) AS (n >> 24) || '.' || ((n >> 16) & 255) || '.' || ((n >> 8) & 255) || '.' || (n & 255)",),
    "sls_hosts": ("(cidr) AS CAST(1 AS BIGINT) << (32 - CAST(split_part(cidr, '/', 2) AS INTEGER))",),
    "sls_ip_first": (
        "(cidr) AS sls_ip_number(split_part(cidr, '/', 1)) - sls_ip_number(split_part(cidr, '/', 1)) % sls_hosts(cidr)",
    ),
    "sls_ip_domain": (
        "(a) AS CASE WHEN NOT sls_is_ip(a) THEN NULL WHEN regexp_matches(a, "
        r"'^(10|127|192\.168|169\.254|172\.(1[6-9]|2[0-9]|3[01]))\.') THEN 'intranet' ELSE 'internet' END",
    ),
    "sls_ip_prefix": ("(a, bits) AS sls_ip_text(sls_ip_first(a || '/' || bits)) || '/' || bits",),
    "sls_subnet_min": ("(cidr) AS sls_ip_text(sls_ip_first(cidr))",),
    "sls_subnet_max": ("(cidr) AS sls_ip_text(sls_ip_first(cidr) + sls_hosts(cidr) - 1)",),
    "sls_subnet_range": ("(cidr) AS [sls_subnet_min(cidr), sls_subnet_max(cidr)]",),
    "sls_is_subnet": (
        "(cidr, a) AS sls_ip_number(split_part(a, '/', 1)) BETWEEN sls_ip_first(cidr) "
        "AND sls_ip_first(cidr) + sls_hosts(cidr) - 1",
    ),
}  # fmt: skip

_USE = re.compile(r"\bsls_[a-z0-9_]+")


def definitions(sql: str) -> list[str]:
    """The statements that define the macros used by the SQL, each after those it depends on."""
    ordered: dict[str, None] = {}

    def add(text: str) -> None:
        for used in _USE.findall(text.lower()):
            if used in MACROS and used not in ordered:
                for form in MACROS[used]:
                    add(form)
                ordered[used] = None

    add(sql)
    return [f"CREATE TEMP MACRO {each} {', '.join(MACROS[each])}" for each in ordered]
