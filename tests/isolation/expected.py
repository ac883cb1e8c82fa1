"""Who may do what with a row of acme's: the one place where it is written down.

Rows are roles and what `app.current_tenant` says: nothing (unset), '' (empty), acme (own) or globex (other). Columns
are what is done to one of acme's tables, which holds one row. A number is of rows seen or changed; `ok` of what counts
none. Else it is refused:

    policy   by row-level security           (42501)
    table    by the table's grants           (42501)
    schema   by the schema's                 (42501)
    rls      by PostgreSQL, which has no COPY FROM for tables with row-level security (0A000)

`app` is an application, `tenant` one with acme's own role and `foreign` one with globex's (BF_TENANT_ROLES), `audit`
the auditor, `owner` who owns all tables (and is a member of the audit role), `stranger` a login without any grant.
"""

from typing import Final

_TABLE: Final = """
role     context  select insert update delete upsert nothing merge  truncate copy_to copy_from for_update lock
app      unset    0      policy 0      0      policy policy  policy table    0       rls       0          ok
app      empty    0      policy 0      0      policy policy  policy table    0       rls       0          ok
app      own      1      1      1      1      1      0       1      table    1       rls       1          ok
app      other    0      policy 0      0      policy policy  policy table    0       rls       0          ok
tenant   unset    0      policy 0      0      policy policy  policy table    0       rls       0          ok
tenant   empty    0      policy 0      0      policy policy  policy table    0       rls       0          ok
tenant   own      1      1      1      1      1      0       1      table    1       rls       1          ok
tenant   other    0      policy 0      0      policy policy  policy table    0       rls       0          ok
foreign  unset    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
foreign  empty    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
foreign  own      schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
foreign  other    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
audit    unset    1      table  table  table  table  table   table  table    1       table     table      table
audit    empty    1      table  table  table  table  table   table  table    1       table     table      table
audit    own      1      table  table  table  table  table   table  table    1       table     table      table
audit    other    1      table  table  table  table  table   table  table    1       table     table      table
owner    unset    1      policy 0      0      policy policy  policy ok       1       rls       0          ok
owner    empty    1      policy 0      0      policy policy  policy ok       1       rls       0          ok
owner    own      1      policy 0      0      policy policy  policy ok       1       rls       0          ok
owner    other    1      policy 0      0      policy policy  policy ok       1       rls       0          ok
stranger unset    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
stranger empty    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
stranger own      schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
stranger other    schema schema schema schema schema schema  schema schema   schema  schema    schema     schema
"""

CONTEXTS: Final = {"unset": None, "empty": "", "own": "acme", "other": "globex"}
TABLES: Final = ("budgets", "forecasts", "budget_lines", "forecast_data_points", "variance_analysis", "scenarios")


def _read() -> dict[tuple[str, str, str], str]:
    header, *lines = (line.split() for line in _TABLE.strip().splitlines())
    return {
        (line[0], line[1], verb): outcome for line in lines for verb, outcome in zip(header[2:], line[2:], strict=True)
    }


# By role, context and verb.
EXPECTED: Final = _read()
ROLES: Final = tuple(dict.fromkeys(role for role, _, _ in EXPECTED))
VERBS: Final = tuple(dict.fromkeys(verb for _, _, verb in EXPECTED))
