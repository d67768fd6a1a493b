"""Queries in the forms that the manual of the Log Service describes, and the answers, which were worked out by hand.

`LOGS` are numbered from 1. A search is answered by the numbers of its logs in order of time; SQL by rows of texts. A
refusal is a part of what the Log Service says.
"""
# ruff: noqa: E501  (a query stands in one line)

from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex
from sesame.store.logs.query.rows import LogRow

# 2023-11-15 06:00:00 in Shanghai.
START_S = 1_699_999_200
END_S = START_S + 10_800
NOW_S = START_S + 9_000.25

_TEXT = KeyIndex("text", DEFAULT_DELIMITERS, doc_value=True)
INDEX = LogIndex(
    line=LineIndex(DEFAULT_DELIMITERS, exclude_keys=("secret",)),
    keys={
        "request_method": _TEXT,
        "request_uri": _TEXT,
        "http_user_agent": _TEXT,
        "region": _TEXT,
        "remote_user": _TEXT,
        "client_ip": _TEXT,
        "file info": _TEXT,
        "status": KeyIndex("long", doc_value=True),
        "request_time": KeyIndex("double", doc_value=True, alias="seconds"),
        "not_analysed": KeyIndex("text", DEFAULT_DELIMITERS),
        "level": KeyIndex("text", DEFAULT_DELIMITERS, case_sensitive=True, doc_value=True),
        "path": KeyIndex("text", ("/", "."), doc_value=True),
        "whole": KeyIndex("text", (), doc_value=True),
        "message": KeyIndex("text", DEFAULT_DELIMITERS, chn=True, doc_value=True),
        "info": KeyIndex(
            "json",
            DEFAULT_DELIMITERS,
            doc_value=True,
            json_keys={
                "usedTime": KeyIndex("double", doc_value=True),
                "success": _TEXT,
                "param.projectName": _TEXT,
            },
        ),
        "__tag__:__hostname__": _TEXT,
    },
)

_LINUX = "Mozilla/5.0 (X11; Linux x86_64) "


def _log(number: int, after_s: int, topic: str, host: str, **contents: str) -> LogRow:
    fields = tuple((key.replace("file_info", "file info"), value) for key, value in contents.items())
    tags = (("__client_ip__", f"192.0.2.{number % 2 + 1}"), ("__hostname__", host))
    return LogRow(number, START_S + after_s, 0, topic, f"192.0.2.{number}", tags, fields)


# fmt: off
LOGS = (
    _log(1, 0, "nginx_access_log", "web-1", request_method="GET", request_uri="/index.html", status="200",
         request_time="0.5", http_user_agent=_LINUX + "Chrome/119", region="cn-hangzhou", remote_user="",
         client_ip="10.0.0.8", path="/url/pic/abc.gif"),
    _log(2, 30, "nginx_access_log", "web-1", request_method="GET", request_uri="/request/path-1/file-9?id=7&b=x%20y",
         status="200", request_time="1.5", http_user_agent=_LINUX + "Firefox/118", region="cn-shanghai",
         remote_user="ann", client_ip="8.8.8.8",
         info='{"usedTime":70.5,"success":true,"param":{"projectName":"project01"},"list":[1,2,3]}'),
    _log(3, 60, "nginx_access_log", "web-1", request_method="POST", request_uri="/request/path-2", status="201",
         request_time="60", http_user_agent="curl/8.0", region="cn-shanghai", remote_user="bob",
         client_ip="192.168.1.77", level="internalError", secret="hidden"),
    _log(4, 90, "nginx_access_log", "web-2", request_method="GET", request_uri="/request/path-2", status="404",
         request_time="0.25", http_user_agent="curl/8.0", region="cn-beijing", level="warning"),
    _log(5, 3600, "https", "web-2", request_method="PUT", request_uri="/orders/77", status="500", request_time="200",
         http_user_agent="python-requests/2.31", region="ap-southeast-1", remote_user="ann",
         message="Error: connection refused and closed", whole="a b"),
    _log(6, 3690, "https", "web-2", request_method="DELETE", request_uri="/orders/78", status="204",
         request_time="99.5", http_user_agent="curl/7.9", region="us-west-1", remote_user="carl",
         info='{"usedTime":12,"success":false,"param":{"projectName":"project02"}}'),
    _log(7, 7200, "https", "web-2", request_method="POST", request_uri="/login", status="403", request_time="2.75",
         http_user_agent=_LINUX + "Chrome/120", region="cn-hangzhou", remote_user="dora", message="用户登录失败: 密码错误"),
    _log(8, 7260, "http", "web-3", request_method="GET", request_uri="/search", status="broken", request_time="n/a",
         http_user_agent="molalar", region="cn*", remote_user="", file_info="apsara doc", instance='nginx"01"',
         not_analysed="deep", info="no json"),
)
# fmt: on

SEARCHES: dict[str, tuple[int, ...] | str] = {
    # Everything, words, and their operators.
    "": (1, 2, 3, 4, 5, 6, 7, 8),
    "*": (1, 2, 3, 4, 5, 6, 7, 8),
    "GET": (1, 2, 4, 8),
    "get": (1, 2, 4, 8),
    "PUT and ap-southeast-1": (5,),
    "GET 200 cn-shanghai": (2,),
    "GET AND cn-beijing OR PUT": (4, 5),
    "PUT or GET cn-beijing": (4, 5),
    "request_method:GET not status:200": (4, 8),
    "not request_method:GET": (3, 5, 6, 7),
    "not GET not POST": (5, 6),
    "(request_method:GET or request_method:POST) and status:200": (1, 2),
    "(request_method:GET or request_method:POST) not status in [200 299]": (4, 7, 8),
    "not (GET or POST)": (5, 6),
    "molal": (),
    # Fields.
    "request_method : POST": (3, 7),
    "request_uri:/request/path-2": (3, 4),
    "request_uri:path-2": (3, 4),
    "request_uri:path": (),
    'http_user_agent:"Linux Chrome"': (1, 7),
    "http_user_agent:Linux and http_user_agent:Chrome": (1, 7),
    "http_user_agent:Firefox or http_user_agent:curl": (2, 3, 4, 6),
    '"file info":apsara': (8,),
    "remote_user:*": (1, 2, 3, 5, 6, 7, 8),
    "not remote_user:*": (4,),
    'remote_user:""': (1, 8),
    'not remote_user:""': (2, 3, 4, 5, 6, 7),
    "region:cn-hangzhou": (1, 7),
    "region:hangzhou": (),
    # Numbers.
    "status:200": (1, 2),
    "status=200": (1, 2),
    "status>=403": (4, 5, 7),
    "status>200 and status<300": (3, 6),
    "request_method:GET and status in [200 299] not request_time>=1": (1,),
    "request_time in [60 200)": (3, 6),
    "request_time in (60 200]": (5, 6),
    "request_time:60": (3,),
    "request_time <= 0.5": (1, 4),
    "not status > -1000000": (8,),
    "status:2*": "is no number",
    # Wildcards and phrases.
    "cn*": (1, 2, 3, 4, 7, 8),
    "region:cn-s*": (2, 3),
    'region:"cn*"': (8,),
    "Moz* and Fire*": (2,),
    "mo?alar": (8,),
    "mo*ar": (8,),
    "http_user_agent:chr*": (1, 7),
    "*hai": "starts with a wildcard",
    '#"connection refused"': (5,),
    '#"refused connection"': (),
    '"refused connection"': (5,),
    # Quotes and escapes.
    '"and"': (5,),
    "and": "unexpected 'and'",
    "sort": "is an operator",
    '"sort"': (),
    'nginx\\"01\\"': (8,),
    # Delimiters, case and Chinese.
    "path:abc": (1,),
    "path:abc.gif": (1,),
    "path:/url/pi*": (1,),
    "level:internalError": (3,),
    "level:internalerror": (),
    "whole:a": (),
    'whole:"a b"': (5,),
    "message:登录": (7,),
    "message:失败 not message:成功": (7,),
    "密码错误": (7,),
    # Reserved fields, and fields that only some logs have.
    "__topic__:https": (5, 6, 7),
    "__topic__:https or __topic__:http": (5, 6, 7, 8),
    "__topic__:nginx*": (1, 2, 3, 4),
    "__source__:192.0.2.3": (3,),
    "source:192.0.2.*": (1, 2, 3, 4, 5, 6, 7, 8),
    "__tag__:__client_ip__:192.0.2.1": (2, 4, 6, 8),
    '__tag__:__hostname__:"web-2"': (4, 5, 6, 7),
    "hidden": (),
    "nginx": (8,),
    "instance": (8,),
    # JSON.
    "info.usedTime > 60": (2,),
    "info.success : true": (2,),
    "info.usedTime > 10 not info.param.projectName : project01": (6,),
    "info:project02": (6,),
    # Without an index.
    "instance:x": "key (instance) is not config as key value config",
    "info.unknown:x": "key (info.unknown) is not config as key value config",
    # A comparison of a text searches for its words.
    "status_text>100": (),
    # What cannot be read.
    "(GET": "it ends where",
    "GET or": "it ends where",
    "request_uri:http://x": "unexpected",
    " ".join(["a"] * 31): "it has 31 keywords, and may have 30",
    "select request_uri": "sql query must follow search query,please read syntex doc",
}

SQL: dict[str, list[tuple[str, ...]] | str] = {
    # Counting and grouping.
    "* | SELECT count(*) AS PV": [("8",)],
    "| select count(1)": [("8",)],
    "status>0 | select count(*), count(remote_user), count(distinct region) from log": [("7", "6", "5")],
    "* | SELECT request_method, count(*) AS pv GROUP BY request_method ORDER BY pv DESC, request_method": [
        ("GET", "4"),
        ("POST", "2"),
        ("DELETE", "1"),
        ("PUT", "1"),
    ],
    "* | select region, sum(status) as s group by region having s > 500 order by s": [("cn-hangzhou", "603")],
    "* | select status / 100 as class, count(*) as c where status > 0 group by class order by class": [
        ("2", "4"),
        ("4", "2"),
        ("5", "1"),
    ],
    "GET | select avg(request_time), max(request_time), min(status), sum(status)": [("0.75", "1.5", "200", "804")],
    "* | select count_if(status >= 400), approx_distinct(request_method)": [("3", "4")],
    "* | select max_by(request_uri, request_time), min_by(request_method, request_time)": [("/orders/77", "GET")],
    "* | select max_by(request_method, request_time, 3)": [('["PUT","DELETE","POST"]',)],
    "* | select approx_percentile(status, 0.5)": [("204",)],
    "* | select bitwise_or_agg(status) where status in (200, 201)": [("201",)],
    "* | select case when status < 300 then 'good' else 'bad' end as k, count(*) where status > 0 group by k order by k": [
        ("bad", "3"),
        ("good", "4"),
    ],
    "* | select sum(if(status = 200, 1, 0)), coalesce(max(nullif(status, 500)), 0)": [("2", "404")],
    # Times.
    "* | select date_format(from_unixtime(__time__), '%Y-%m-%d %H:%i:%s') as t order by t desc limit 1": [
        ("2023-11-15 08:01:00",)
    ],
    "* | select __time__ - __time__ % 3600 as t, count(*) as c group by t order by t": [
        ("1699999200", "4"),
        ("1700002800", "2"),
        ("1700006400", "2"),
    ],
    "* | select date_trunc('hour', __time__) as t, count(*) group by t order by t limit 2": [
        ("2023-11-15 06:00:00.000", "4"),
        ("2023-11-15 07:00:00.000", "2"),
    ],
    "* | select date_format(date_parse('2017-05-17 09:45:00','%Y-%m-%d %H:%i:%S'), '%Y-%m-%d') limit 1": [
        ("2017-05-17",)
    ],
    "* | select from_unixtime(1494985275) limit 1": [("2017-05-17 09:41:15.000",)],
    "* | select from_unixtime(1494985275, 'Asia/Shanghai') limit 1": [("2017-05-17 09:41:15.000 Asia/Shanghai",)],
    "* | select to_unixtime('2017-05-17 09:45:00.848 Asia/Shanghai') limit 1": [("1494985500.848",)],
    "* | select date_add('day', -7, '2018-08-09 00:00:00') limit 1": [("2018-08-02 00:00:00.000",)],
    "* | select date_diff('day', '2018-08-02 00:00:00', '2018-08-09 00:00:00') limit 1": [("7",)],
    "* | select current_date, now() limit 1": [("2023-11-15", "2023-11-15 08:30:00.250 Asia/Shanghai")],
    "* | select hour(from_unixtime(__time__)) as h, extract(minute from from_unixtime(__time__)) as m order by h desc, m "
    "desc limit 1": [("8", "1")],
    "* | select time_series(__time__, '1h', '%H:%i', '0') as t, count(*) as c from log where status >= 500 group by t "
    "order by t": [("06:00", "0"), ("07:00", "1"), ("08:00", "0")],
    # Texts.
    "* | select split_part(request_uri, '?', 1) as p, count(*) as c group by p order by c desc, p limit 1": [
        ("/request/path-2", "2")
    ],
    "* | select split('a/b/c', '/', 2), split_to_map('a:1,b:2', ',', ':') limit 1": [
        ('["a","b/c"]', '{"a":"1","b":"2"}')
    ],
    "PUT | select substr(region, 1, 2) = chr(97) || 'p', strpos(region, 's'), length(region)": [("true", "4", "14")],
    "PUT | select lower(request_method), replace(region, 'ap', 'AP'), lpad('7', 3, '0'), reverse('abc')": [
        ("put", "AP-southeast-1", "007", "cba")
    ],
    "request_uri:file-9 | select url_extract_path(request_uri), url_extract_parameter(request_uri, 'b')": [
        ("/request/path-1/file-9", "x y")
    ],
    r"PUT | select regexp_extract(request_uri, '\d+'), regexp_like(region, '^ap'), regexp_replace(region, '-.*', '!')": [
        ("77", "true", "ap!")
    ],
    "PUT | select regexp_extract_all('a1b22', '[0-9]+'), regexp_extract(region, '(x)', 1)": [('["1","22"]', "null")],
    "* | select concat(request_method, '-', region) as k where request_uri like '/log%'": [("POST-cn-hangzhou",)],
    # JSON, arrays and maps.
    '* | select avg("info.usedTime") as avg_time': [("41.25",)],
    "* | select json_extract_scalar(info, '$.param.projectName') as p where info <> '' order by p": [
        ("project01",),
        ("project02",),
        ("null",),
    ],
    "* | select json_extract('{\"status\":\"200\"}', '$.status'), json_array_length('[1, 2]'), json_size('{\"a\":[1,2,3]}', "
    "'$.a'), json_array_contains('[1, 2, 3]', 2) limit 1": [('"200"', "2", "3", "true")],
    "* | select sum(cast(n as bigint)) from log, unnest(cast(json_extract(info, '$.list') as array(json))) as t(n)": [
        ("6",)
    ],
    "* | select array_sort(array_agg(status)) as a, cardinality(array[1, 2]), transform(array[1, 2], x -> x * 2) where status > 403": [
        ("[404,500]", "2", "[2,4]")
    ],
    "* | select histogram(request_method) where status < 202": [('{"GET":2,"POST":1}',)],
    # Addresses and numbers.
    "* | select ip_to_domain(client_ip) as d, count(*) as c where client_ip <> '' group by d order by d": [
        ("internet", "1"),
        ("intranet", "2"),
    ],
    "POST | select ip_subnet_min(concat(client_ip, '/24')), is_subnet_of('192.168.0.0/16', client_ip) limit 1": [
        ("192.168.1.0", "true")
    ],
    "* | select round(2.5), 7 / 2, 7 / 2.0, 7 % 4, power(2, 3), truncate(2.7) limit 1": [
        ("3.0", "3", "3.5", "3", "8.0", "2.0")
    ],
    "* | select cast('12' as bigint) + 1, try_cast('x' as bigint), cast(2.5 as bigint), cast(1 as varchar) limit 1": [
        ("13", "null", "3", "1")
    ],
    # Sub-queries, windows, tags, aliases.
    "* | select max(c) from (select request_method, count(*) as c from log group by request_method)": [("4",)],
    "* | with t as (select region, count(*) as c from log group by region) select count(*) from t where c > 1": [
        ("2",)
    ],
    "* | select request_method, rank() over (order by count(*) desc) as r group by request_method order by r, 1 limit 2": [
        ("GET", "1"),
        ("POST", "2"),
    ],
    '* | select "__tag__:__hostname__" as h, count(1) as c group by h order by h': [
        ("web-1", "3"),
        ("web-2", "4"),
        ("web-3", "1"),
    ],
    "* | select __topic__, count(*) as c group by __topic__ order by c desc, __topic__ limit 1, 1": [("https", "3")],
    "* | select max(seconds)": [("200.0",)],
    "status = 403 | select request_uri union all select 'x' where status = 403": [("/login",), ("x",)],
    # What is refused.
    "* | select my_key_field": "line 1:8: Column 'my_key_field' cannot be resolved;please add the column in the index attribute",
    '* | select "not_analysed"': "if not_analysed is a string ,not a key field, please use 'not_analysed'",
    "* | select region, avg(request_time) group by status": "Column 'region' not in GROUP BY clause",
    "* | select 1a from log where": "error after select",
    "* | select ip_to_province(client_ip)": "Function ip_to_province",
    "* | select compare(c, 86400) from (select count(*) as c from log)": "Function compare",
    "* | select cast(region as bigint)": "Cannot cast 'cn-hangzhou' to BIGINT",
    "* | select sum(region)": "Unexpected parameters (varchar) for function sum",
    "* | select * from read_csv('/etc/passwd')": "does not exist",
    "* | select getenv('HOME')": "Function getenv not registered",
    "* | insert into log select 1": "expecting SELECT",
    "* | select 1; drop table log": "expected one",
}
